"""Where a measurement was made, and what the machine can do at most: bytes and multiply-adds a second."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import torch

MIB: Final = 1 << 20
MEMORY_BYTES: Final = 256 * MIB
"""Of one buffer: no cache holds it."""
SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What `measure` found, with as many threads as torch uses.

    Attributes:
        memory: bytes a second, of a copy of large buffers (read and written ones) or of reading; the more.
        cache: the same with a quarter of the last-level cache.
        cache_bytes: size of the last-level cache; 0 where the system does not tell.
        float32: floating-point operations a second of a large product (a multiply-add is two).
        int8: the same of a product of 8-bit integers; that of float32 where torch has none.
    """

    memory: float
    cache: float
    cache_bytes: int
    float32: float
    int8: float

    @classmethod
    def measure(cls) -> Ceilings:
        """Takes some two seconds."""
        cache_bytes = last_level_cache()
        memory = _bandwidth(MEMORY_BYTES)
        cache = _bandwidth(cache_bytes // 8) if cache_bytes else memory
        single = torch.randn(1024, 1024)
        float32 = 2 * 1024**3 / _fastest(lambda: single @ single)
        coded = single.clamp(-3, 3).mul(40).to(torch.int8)
        try:
            int8 = 2 * 1024**3 / _fastest(lambda: torch._int_mm(coded, coded))
        except RuntimeError:
            int8 = float32
        return cls(memory, max(cache, memory), cache_bytes, float32, max(int8, float32))

    def as_dict(self) -> dict[str, float]:
        """Rounded, in units of 10^9, for results."""
        return {
            "memory_gb_per_second": round(self.memory / 1e9, 1),
            "cache_gb_per_second": round(self.cache / 1e9, 1),
            "cache_mib": round(self.cache_bytes / MIB, 1),
            "float32_gflops": round(self.float32 / 1e9),
            "int8_gops": round(self.int8 / 1e9),
        }


def machine() -> dict[str, Any]:
    """Date, processor, cores, memory, system, versions, commit."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit of the sources, and whether they differ from it; None for an installed package."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603

    try:
        tracked = git("ls-files", "--", Path(__file__).name)
        if not tracked:
            return None
        changed = git("status", "--porcelain", "--", "..")
        return git("rev-parse", "--short=12", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def last_level_cache() -> int:
    """Bytes of the largest cache of the first processor, as Linux tells; else 0."""
    sizes = [
        _bytes(file.read_text().strip())
        for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    ]
    return max(sizes, default=0)


def _bytes(text: str) -> int:
    units = {"K": 1024, "M": MIB, "G": 1024 * MIB}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _bandwidth(size: int) -> float:
    source, target = torch.ones(size // 4), torch.zeros(size // 4)
    return max(2 * size / _fastest(lambda: target.copy_(source)), size / _fastest(source.sum))


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest run: of a ceiling the noise is all on one side."""
    call()
    times: list[float] = []
    started = perf_counter()
    while len(times) < 5 or perf_counter() - started < SECONDS:
        before = perf_counter()
        call()
        times.append(perf_counter() - before)
    return min(times)
