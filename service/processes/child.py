"""A child process: forked from the supervisor, which has imported and read what all of them need.

Why a fork and not a new interpreter: a child that takes another's place is there in a fraction of a second,
and the vocabulary and the libraries are in memory once. It is safe because the supervisor has one thread of
its own and never computes: no lock is held, no pool and no CUDA context exists when it forks.
"""

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from service import logs

logger = logging.getLogger("headfirst")

CRASHED = 1


@dataclass(frozen=True)
class Child:
    """A process that runs."""

    name: str
    pid: int
    started: float = field(default_factory=time.monotonic)

    def signal(self, number: int) -> None:
        """Sends a signal; the child is not reaped yet, so that its id is nobody else's."""
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
        """In the supervisor, when it has no children any more."""
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
