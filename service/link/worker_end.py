"""An HTTP worker's end of a connection to the engine process."""

import asyncio
from collections.abc import Callable
from typing import cast

from service.link import wire


class WorkerEnd(asyncio.Protocol):
    """Bytes in, frames out; `lost` is done when the connection has ended."""

    def __init__(self, receive: "Callable[[WorkerEnd, bytes], None]") -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._splitter = wire.Splitter()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The engine process is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of frames, in whatever pieces they come."""
        for body in self._splitter.feed(data):
            self._receive(self, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """The engine process is gone."""
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def write(self, frame: bytes) -> None:
        """Sends a frame, with all others of this turn of the event loop: one write, one wake-up over there.
        Into the void if the connection has ended."""
        self._out.append(frame)
        if len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        """Ends the connection, when all is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
