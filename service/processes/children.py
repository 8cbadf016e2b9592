"""The supervisor's child processes: forked when it has imported and read what all of them need.

A fork and not a new interpreter: a child that takes another's place is there in a fraction of a second, and
the vocabulary and the libraries are in memory once. It is safe because the supervisor has one thread of its
own and never computes: no lock is held, no pool and no CUDA context exists when it forks.
"""

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service import logs
from service.metrics.process_group import write_processes

logger = logging.getLogger("headfirst")

ENGINE = "engine"

CRASHED = 1

FIRST_SECONDS = 0.1
MAX_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A process that served for so long has not failed quickly."""
MAX_QUICK_FAILURES = 6
"""After so many in a row, about 3 s of waiting, starting it once more would not help."""


@dataclass(frozen=True)
class Child:
    """A process that runs."""

    name: str
    pid: int
    started: float = field(default_factory=time.monotonic)

    def signal(self, number: int) -> None:
        """Sends a signal; the child is not reaped yet, so that its id is no other process's."""
        os.kill(self.pid, number)


class Leash:
    """A pipe that only the supervisor can write to, and never does: its end is the supervisor's end.

    Args:
        directory: what is left of the supervisor, to be removed by its children.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read_end, self._write_end = os.pipe()

    def hold(self) -> None:
        """In a child: from now on it ends with the supervisor, however that ends."""
        os.close(self._write_end)
        threading.Thread(target=self._wait, name="headfirst-leash", daemon=True).start()

    def close(self) -> None:
        """In the supervisor, after the last child has ended."""
        os.close(self._read_end)
        os.close(self._write_end)

    def _wait(self) -> None:
        os.read(self._read_end, 1)
        logger.error("the supervisor is gone: exits at once")
        shutil.rmtree(self._directory, ignore_errors=True)
        os._exit(CRASHED)


def fork(name: str, leash: Leash, work: Callable[[], int]) -> Child:
    """Starts a process that runs `work`, whose result is its exit status.

    It starts with SIGINT and SIGHUP ignored (a terminal sends them to all of us; the supervisor decides) and
    without the supervisor's handlers.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(name, pid)
    status = CRASHED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        leash.hold()
        logs.name_process(name)
        status = work()
    except BaseException as error:
        logger.critical("the process ends", exc_info=error)
    finally:
        # Never back into the supervisor's code, nor through what it has registered for its own end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def how_it_ended(wait_status: int) -> dict[str, object]:
    """For a log line: the exit status, or the signal's name."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return {"status": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:  # A real-time signal has no name.
        return {"signal": -code}


class Children:
    """Starts, signals and reaps them, and writes the list of them that the metrics read.

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


class Backoff:
    """Counts the quick failures in a row of one process and those that take its place."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self, served: float) -> float | None:
        """Seconds to wait, doubled from one quick failure to the next; None to give up.

        Args:
            served: seconds from when the process was ready to its end; 0 if it never was.
        """
        if served >= STEADY_SECONDS:
            self._failures = 0
        self._failures += 1
        if self._failures >= MAX_QUICK_FAILURES:
            return None
        return float(min(MAX_SECONDS, FIRST_SECONDS * 2 ** (self._failures - 1)))
