"""Where and with what a measurement was made."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
PACKAGES = "models", "service", "benchmarks"


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit() -> str:
    """The commit, and whether the measured packages differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "service", "models/*.py", "models/kernels", "models/bodies")
    return git("rev-parse", "--short=12", "HEAD") + (" with uncommitted changes" if changed else "")


def digest(model: Path) -> str:
    """Which model it was."""
    weights = (model / "model.safetensors").read_bytes()
    return f"{model.name} (sha256 of the weights {hashlib.sha256(weights).hexdigest()[:12]})"


def copy_packages(folder: Path, model: Path) -> Path:
    """Copies what the servers import to `folder`: edits during a run change nothing. The model's copy."""
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    copied = folder / "bundle" / model.name
    shutil.copytree(model, copied)
    return copied
