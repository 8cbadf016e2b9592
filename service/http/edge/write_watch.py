"""How long a client may leave unread what was written to it."""

import asyncio
import fcntl
import struct
import sys
import termios
import time

LOOKS = 4
"""The transport is looked at so many times in the time that a client may stand still."""

WHOLE = 20
"""All that was written has to be taken in so many times that time."""


class WriteWatch:
    """Aborts a connection whose client takes nothing of what was written for `seconds`, or not all of it in
    `WHOLE` times that, whether or not the connection was closed meanwhile.

    Taken is what the client's system has acknowledged. What is left in this system's buffers alone costs the
    process nothing, and is not waited for.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._written = 0
        self._taken = 0
        self._began = self._moved = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, written: int) -> None:
        """The transport holds the end of what was written, `written` bytes since the connection began."""
        self._written = written
        if self._timer is None:
            self._began = self._moved = time.monotonic()
            self._taken = self._count_taken()
            self._wait()

    def stop(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        now, taken = time.monotonic(), self._count_taken()
        if taken > self._taken:
            self._taken, self._moved = taken, now
        if now - self._moved >= self._seconds or now - self._began >= WHOLE * self._seconds:
            self._transport.abort()
        else:
            self._wait()

    def _count_taken(self) -> int:
        return self._written - self._transport.get_write_buffer_size() - _queued(self._transport)


def _queued(transport: asyncio.Transport) -> int:
    """Bytes in the system's send queue that the client has not acknowledged (tcp(7), SIOCOUTQ)."""
    if sys.platform != "linux":
        return 0
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return 0
    queued: tuple[int] = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return queued[0]
