"""A transport that sends the head of an answer together with the beginning of its body."""

import asyncio

from service.http.edge.write_watch import WriteWatch


class Corked:
    """Wraps a transport: the head and the first piece of the body are one write, one packet, and one read of
    the client.

    Args:
        watch: is told of what the client does not take at once.
    """

    def __init__(self, transport: asyncio.Transport, watch: WriteWatch) -> None:
        self._transport = transport
        self._watch = watch
        self._written = 0
        self._head: bytes | None = None
        self._corked = False
        for name in ("abort", "is_closing", "write_eof", "get_extra_info", "pause_reading", "resume_reading"):
            setattr(self, name, getattr(transport, name))

    def cork(self) -> None:
        """Holds back the next write: it is the head of an answer."""
        self._corked = True

    def write(self, data: bytes) -> None:
        """Writes, with the head before it that was held back; or holds a head back."""
        if self._corked:
            self._corked, self._head = False, data
        elif self._head is not None:
            head, self._head = self._head, None
            self._send(head + data)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        self._transport.write(data)
        self._written += len(data)
        if self._transport.get_write_buffer_size():
            self._watch.wait_for(self._written)

    def flush(self) -> None:
        """Writes a head whose body does not come."""
        if self._head is not None:
            self.write(b"")

    def close(self) -> None:
        """Closes when all is written."""
        self.flush()
        self._transport.close()
