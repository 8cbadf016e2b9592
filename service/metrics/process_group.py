"""`process_...` metrics of several processes as if they were one: the supervisor and its children."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_FILE = "processes"

_UTIME, _STARTTIME = 11, 19
"""Places of a process's fields in /proc/PID/stat, counted after its name (proc(5))."""


def write_processes(directory: Path, pids: Iterable[int], engine_restarts: int = 0) -> None:
    """Writes which processes there are, the parent first, and how often an engine process took another's
    place, for the workers' metrics pages."""
    temporary = directory / f"{_FILE}.new"
    temporary.write_text(json.dumps({"pids": list(pids), "engine_restarts": engine_restarts}))
    temporary.replace(directory / _FILE)


def engine_restarts(directory: Path) -> int:
    """What `write_processes` was told last."""
    return int(json.loads((directory / _FILE).read_text())["engine_restarts"])


class ProcessGroupCollector:
    """Adds up what /proc tells of the processes; where there is no /proc, there are no such metrics.

    Memory that several share counts once. The start is that of the youngest, so that an alert on restarts
    sees those of the engine and the workers, too. CPU time includes that of children which ended, so that the
    counter never goes back by more than what the parent has not noticed yet.

    Args:
        directory: where `write_processes` was told to write.
    """

    def __init__(self, directory: Path, registry: CollectorRegistry) -> None:
        self._file = directory / _FILE
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing is read before the first scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Reads /proc now."""
        if not Path("/proc/self/stat").exists():
            return []
        pids: list[int] = json.loads(self._file.read_text())["pids"]
        cpu = memory = start = 0.0
        fds = 0
        for pid in pids:
            process = Path("/proc") / str(pid)
            try:
                stat = _stat(process)
                times = list(map(int, stat[_UTIME : _UTIME + 4]))
                cpu += sum(times if pid == pids[0] else times[:2]) / os.sysconf("SC_CLK_TCK")
                memory += _memory(process)
                start = max(start, _boot() + int(stat[_STARTTIME]) / os.sysconf("SC_CLK_TCK"))
                fds += len(list((process / "fd").iterdir()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has ended meanwhile.
        return [
            CounterMetricFamily("process_cpu_seconds", "User and system CPU time of all processes", cpu),
            GaugeMetricFamily(
                "process_resident_memory_bytes",
                "Memory of all processes; what they share counts once",
                memory,
            ),
            GaugeMetricFamily("process_open_fds", "Open file descriptors of all processes", fds),
            GaugeMetricFamily(
                "process_start_time_seconds", "Start of the youngest process since the Unix epoch", start
            ),
        ]


def _stat(process: Path) -> list[str]:
    # The name is in parentheses, and may hold anything.
    return (process / "stat").read_text().rpartition(")")[2].split()


def _memory(process: Path) -> float:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024.0
    return 0.0


def _boot() -> float:
    lines = Path("/proc/stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))
