"""The first line of defence, below ASGI: the head of a request is bounded in bytes and in time.

uvicorn bounds neither: a header of a gigabyte would be collected in memory, and a client that sends its head
a byte an hour would hold its connection for ever. What is no HTTP at all gets the one error shape here, too.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.contract.errors import MalformedBody
from service.http.edge.connection import COMPLETE_KEY, CONNECTION_KEY, Connection
from service.http.edge.error_response import ErrorResponse
from service.http.edge.refusals import Refusals
from service.http.telemetry.request_id import request_id

logger = logging.getLogger("headfirst")

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
LINGER_SECONDS = 1.0
"""What a refused client still sends is thrown away for so long; a connection closed under its writes would
destroy the answer before it is read."""


class Corked:
    """A transport that keeps the head of an answer back until its body begins: both are one write then, one
    packet, and one read of the client."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._corked = False
        for name in ("is_closing", "write_eof", "get_extra_info", "pause_reading", "resume_reading"):
            setattr(self, name, getattr(transport, name))

    def cork(self) -> None:
        """What is written next is a head."""
        self._corked = True

    def write(self, data: bytes) -> None:
        """Writes, or keeps a head back."""
        if self._corked:
            self._corked, self._head = False, data
        elif self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Writes a head whose body does not come."""
        if self._head is not None:
            self.write(b"")

    def close(self) -> None:
        """Closes when all is written."""
        self.flush()
        self._transport.close()


class Cycle(RequestResponseCycle):
    """A request and its answer, whose head is written with the beginning of its body."""

    async def send(self, message: ASGISendEvent) -> None:
        """See `RequestResponseCycle.send`."""
        if not self.response_started:
            cast(Corked, self.transport).cork()
        await super().send(message)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with these bounds, and with what `connection` tells requests.

    Args:
        refusals: asked of each request whether it is refused at once.
    """

    def __init__(self, *args: Any, refusals: Refusals | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = refusals
        self._may_refuse = False
        # A new connection owes a head from its first moment on.
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._upgrade_asked = False
        self._connection = Connection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its head has to be, soon."""
        super().connection_made(transport)
        self.transport = self._corked = cast(Any, Corked(transport))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        super().connection_lost(exc)
        self._connection.lose()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: of its head, its body, or the next request's head."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._refused:
            return
        if not self._in_head:
            self._stop_timer()
            self._watch_idle()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The head of a request must have at most {MAX_HEAD_BYTES} bytes.")
        elif self._head_timer is None:
            self._start_timer()

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self._upgrade_asked:
                    return  # CONNECT: what comes after it is no HTTP
                data = memoryview(data)[upgrade.args[0] :]
                self._upgrade_asked = False
                if not self._feed_without_upgrade():
                    return
            except httptools.HttpParserError:
                self._no_http()
                return

    def _no_http(self) -> None:
        message = "Invalid HTTP request received."
        self.logger.warning(message)
        self.send_400_response(message)

    def _feed_without_upgrade(self) -> bool:
        """Gives the parser the head again without `Upgrade`, which a server may ignore (RFC 9110, 7.8).

        The parser takes what follows a head with it for another protocol. So the body would be lost of Java's
        HttpClient, which asks for HTTP/2 in this way unless told otherwise, and of `curl --http2`.

        Returns:
            Whether it is still HTTP.
        """
        version = self.parser.get_http_version().encode()
        request_line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        headers = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        try:
            self.parser.feed_data(b"\r\n".join([request_line, *headers, b"", b""]))
        except httptools.HttpParserError:
            self._no_http()
            return False
        return True

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[CONNECTION_KEY] = self._connection
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._upgrade_asked = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._upgrade_asked:
            return
        self._in_head = False
        before = self.cycle
        # Requests that were sent before the last one was answered wait for their turn; few clients do that.
        self._may_refuse = self._refusals is not None and not self.pipeline
        super().on_headers_complete()
        self._may_refuse = False
        if self.cycle is not before:
            # uvicorn makes its own kind of cycle, which has not run yet.
            self.cycle.__class__ = Cycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # A client that reads no answers waits, as it does on the long way.
        writable = not self.flow.write_paused
        if self._may_refuse and writable and cycle.keep_alive and not cycle.waiting_for_100_continue:
            assert self._refusals is not None  # noqa: S101 -- or it may not refuse
            refused = self._refusals.refuse(cast(Any, cycle.scope))
            if refused is not None:
                # What comes of its body is thrown away.
                cycle.response_started = cycle.response_complete = True
                self._write_error(*refused)
                self.on_response_complete()
                return
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is written."""
        self._corked.flush()
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """A request is there. If it all came at once, nobody has begun with it yet."""
        if self._upgrade_asked:
            return
        super().on_message_complete()
        cast(dict[str, Any], self.scope)[COMPLETE_KEY] = True

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP in the one error shape, and closes the connection.

        An earlier request on this connection that is there completely gets its own answer as the last one.
        """
        self._refused = True
        self._stop_timer()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self.pipeline or cycle.response_started or not cycle.more_body:
                cycle.keep_alive = False
                return
            # The rest of its body will not come.
            cycle.disconnected = True
            cycle.message_event.set()
        error = MalformedBody(msg, code="invalid_http")
        self._write_error(ErrorResponse(error), request_id(b"").decode(), (b"connection: close",))
        self.transport.write_eof()
        self._head_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _write_error(self, response: ErrorResponse, own_id: str, headers: tuple[bytes, ...] = ()) -> None:
        status = response.status
        head = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
            *(name + b": " + value for name, value in self.server_state.default_headers),
            *(name + b": " + value for name, value in response.headers),
            *headers,
            b"x-request-id: " + own_id.encode(),
        ]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + response.body)

    def _watch_idle(self) -> None:
        # uvicorn starts its timer only with an answer, in `on_response_complete`, which counts the request
        # and begins the next one. These bytes may be of a body that was answered before it came: they stopped
        # the timer, and nothing else would start it again.
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            logger.info("closed a connection whose request did not come")
            self.transport.close()
