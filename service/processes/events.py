"""What a process waits for that has one thread and no event loop: signals, files and points in time."""

import contextlib
import sched
import selectors
import signal
import socket
import time
from collections.abc import Generator, Iterable


@contextlib.contextmanager
def signals_as_bytes(numbers: Iterable[signal.Signals]) -> Generator[socket.socket, None, None]:
    """Yields a socket that gets the number of each of these signals as a byte, instead of what they did.

    So a signal is handled between two other events, and none is lost.
    """
    wakeup, writer = socket.socketpair()
    wakeup.setblocking(False)
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    before_wakeup = signal.set_wakeup_fd(writer.fileno())
    try:
        yield wakeup
    finally:
        signal.set_wakeup_fd(before_wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        wakeup.close()
        writer.close()


def handle_next(selector: selectors.BaseSelector, schedule: sched.scheduler) -> None:
    """Blocks until a file is ready or an action is due; calls the data of these files, then these actions.

    Args:
        selector: the data of each file is a function without arguments.
        schedule: has the clock `time.monotonic`.
    """
    actions = schedule.queue
    timeout = max(0.0, actions[0].time - time.monotonic()) if actions else None
    for key, _ in selector.select(timeout):
        key.data()
    schedule.run(blocking=False)


def cancel_all(schedule: sched.scheduler) -> None:
    """Empties a schedule."""
    for action in schedule.queue:
        schedule.cancel(action)
