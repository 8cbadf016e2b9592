"""A server and all processes it starts: CPU time, memory, end. From /proc (Linux)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from benchmarks.serving.texts import body

MARK = "BENCHMARK_RUN"
TICKS = os.sysconf("SC_CLK_TCK")
END_SECONDS = 10.0


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A server that was started, until the end of a `with` block.

    Its processes are those with a mark in their environment that only they have: daemons that left the
    process tree are found, too, and no other program's process is ever ended.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._mark = f"{os.getpid()}-{port}-{time.monotonic_ns()}"
        self._command = command
        self._environment = os.environ | environment | {MARK: self._mark}
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, cwd=self._log.parent
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        end = time.monotonic() + END_SECONDS
        while self.processes() and time.monotonic() < end:
            self._process.poll()
            time.sleep(0.1)
        for _ in range(50):
            left = self.processes()
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._process.poll()
            if not left:
                self._process.wait(END_SECONDS)
                return
            time.sleep(0.1)
        raise RuntimeError(f"processes that do not end: {left}")

    def wait_ready(self, seconds: float) -> None:
        """Until a prediction is answered with 200.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}; see {self._log}")
            with contextlib.suppress(OSError):
                self.ask("Is anybody there")
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server was not ready within {seconds} s; see {self._log}")

    def ask(self, text: str) -> bytes:
        """The body of the answer to one text. Raises OSError for any answer but 200."""
        request = urllib.request.Request(
            f"{self.url}/v1/predict", body(text), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
            return content

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a Prometheus metric's series, of those with a label like `status="500"` if one is given;
        0 where there is none."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name and label in line
        )

    def processes(self) -> list[int]:
        """The ids of the server's living processes."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        """CPU time of the living processes so far."""
        ticks = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory_bytes(self) -> int:
        """Proportional set size of all processes: shared pages count once."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total
