"""Closed loop: so many connections, each asking again as soon as it is answered. Measured by wrk."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.serving.texts import write_for_lua

SCRIPT = Path(__file__).with_name("predict.lua")
TIMEOUT_SECONDS = 10


class ClosedLoop:
    """Runs wrk; no two of its runs ask for the same cold text.

    Args:
        folder: where the lists of texts for wrk go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Far enough apart for the longest of runs; the sequence begins again after two million.
        self._starts = itertools.count(0, 104_729)

    def run(self, url: str, connections: int, seconds: float, cold: bool = True) -> dict[str, Any]:
        """What wrk saw: requests, seconds, rate (answered with 2xx, a second), latencies in seconds, errors.

        Raises:
            RuntimeError: wrk failed.
        """
        firsts, contexts = write_for_lua(self._folder, cold)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += [f"--timeout={TIMEOUT_SECONDS}s", "-s", str(SCRIPT), url, "--"]
        command += [str(firsts), str(contexts), str(next(self._starts) % 1_990_000)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
        result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
        result["rate"] = (result["requests"] - result["refused_or_failed"]) / result["seconds"]
        return result
