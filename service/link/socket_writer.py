"""Bytes out over a connection, written by the thread that has them.

An event loop's transport may be used by its own thread only. To hand it what an engine's thread has would
wake the loop, which then waits for the interpreter, only to make one system call.
"""

import asyncio
import contextlib
import os
import socket
import threading


class SocketWriter:
    """Writes to a transport's socket at once, from any thread, in the order of the calls.

    What the socket has no room for is written by the event loop, as soon as it has. Nothing else may write to
    the transport.

    Args:
        transport: of a stream socket; its protocol ends it, after `close`.
        loop: the transport's.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        # A descriptor of our own: the loop watches the transport's, whose number is not ours to keep.
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(False)
        self._loop = loop
        self._lock = threading.Lock()
        self._left = bytearray()
        self._closed = False

    def write(self, data: bytes) -> None:
        """Writes, or keeps for later; into the void once the other end is gone, which the transport tells."""
        with self._lock:
            if self._closed:
                return
            if self._left:
                self._left += data
                return
            sent = self._send(data)
            if sent < len(data):
                self._left += memoryview(data)[sent:]
                self._loop.call_soon_threadsafe(self._watch)

    def close(self) -> None:
        """Writes nothing more; what is left is dropped. On the event loop's thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._left.clear()
                self._loop.remove_writer(self._socket)
                self._socket.close()

    def _watch(self) -> None:
        if not self._closed:
            self._loop.add_writer(self._socket, self._go_on)

    def _go_on(self) -> None:
        with self._lock:
            del self._left[: self._send(self._left)]
            if not self._left:
                self._loop.remove_writer(self._socket)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # The transport's protocol gets `connection_lost`, should the transport not see the end itself.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            return len(data)
