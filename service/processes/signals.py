"""Signals as bytes on a socket: seen between two steps of whoever waits for it, and none is lost."""

import contextlib
import signal
import socket
from collections.abc import Generator, Iterable


@contextlib.contextmanager
def signals_as_bytes(numbers: Iterable[signal.Signals]) -> Generator[socket.socket, None, None]:
    """Yields a socket that gets the number of each of these signals as a byte, instead of what they did."""
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
