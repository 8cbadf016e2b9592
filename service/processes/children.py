"""The processes that the supervisor has: the engine's and the workers'."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from service.metrics.process_group import write_processes
from service.processes.child import Child, Leash, fork

ENGINE = "engine"


class Children:
    """Starts, signals and reaps them, and tells those who are asked for metrics which there are.

    Args:
        directory: where that is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._leash = Leash(directory)
        self._running: dict[int, Child] = {}
        self._starts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._running)

    def named(self, name: str) -> Child | None:
        """The one with this name, if it runs."""
        return next((child for child in self._running.values() if child.name == name), None)

    def start(self, name: str, work: Callable[[], int]) -> None:
        """Forks one that runs `work`, whose result is its exit status."""
        self._starts[name] += 1
        child = fork(name, self._leash, work)
        self._running[child.pid] = child
        self._list()

    def reap(self) -> Iterator[tuple[Child, int]]:
        """Those that have ended and are not there any more, each with its wait status."""
        while self._running:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._running.pop(pid, None)
            if child is not None:  # As process 1 of a container we get others' orphans.
                self._list()
                yield child, wait_status

    def signal_workers(self, number: signal.Signals) -> None:
        """Sends all but the engine a signal."""
        for child in self._running.values():
            if child.name != ENGINE:
                child.signal(number)

    def kill(self) -> None:
        """Ends all at once, and waits for that."""
        for child in self._running.values():
            child.signal(signal.SIGKILL)
        for pid in list(self._running):
            os.waitpid(pid, 0)
            del self._running[pid]

    def close(self) -> None:
        """There will be none any more."""
        self._leash.close()

    def _list(self) -> None:
        restarts = max(0, self._starts[ENGINE] - 1)
        write_processes(self._directory, [os.getpid(), *self._running], restarts)
