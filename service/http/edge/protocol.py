"""The first line of defense, below ASGI: the head of a request is bounded in bytes and in time.

uvicorn bounds neither: a header of a gigabyte would be collected in memory, and a client that sends its head
a byte an hour would hold its connection forever. Bytes that are not HTTP get the one error shape here, too.

This is the one file that stands on how uvicorn is made inside: on methods of its protocol that are called
back by the parser, and on attributes of it and of its cycle (a request and its answer). None of them has an
underscore, but none is documented either: tests/service/http/edge/test_uvicorn.py tells which ones a new
uvicorn lacks, and pyproject.toml has an upper bound until that test has passed.
"""

import asyncio
import logging
import urllib.parse
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.contract.errors import MalformedBody
from service.http.edge.connection import COMPLETE_KEY, CONNECTION_KEY, Connection
from service.http.edge.corked import Corked
from service.http.edge.error_response import ErrorResponse
from service.http.edge.refusals import Refusals
from service.http.telemetry.recorder import request_id

logger = logging.getLogger("headfirst")

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
LINGER_SECONDS = 1.0
"""What a refused client still sends is thrown away for so long; a connection closed under its writes would
destroy the answer before it is read."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with these bounds; tells requests of their `Connection`, and answers some itself.

    Args:
        refusals: asked of each request whether it is refused at once.
    """

    def __init__(self, *args: Any, refusals: Refusals | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = refusals
        # A new connection owes a head from its first moment on.
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._ended = False
        """Whether an answer said that this connection ends; what still comes is thrown away."""
        self._refused = False
        """Whether the request that comes now was refused; its body is thrown away."""
        self._upgrade_asked = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its head has to be, soon."""
        super().connection_made(transport)
        self.transport = self._corked = cast(Any, Corked(transport))
        self._connection = Connection(self._corked.cork)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_timer()
        super().connection_lost(exc)
        self._connection.lose()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: of its head, its body, or the next request's head."""
        if self._ended:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._feed(data)
        if self._ended:
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
                    return  # CONNECT: what comes after it is not HTTP
                data = memoryview(data)[upgrade.args[0] :]
                self._upgrade_asked = False
                if not self._feed_without_upgrade():
                    return
            except httptools.HttpParserError:
                self._not_http()
                return

    def _not_http(self) -> None:
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
            self._not_http()
            return False
        return True

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[CONNECTION_KEY] = self._connection
        self._in_head = True
        self._head_bytes = 0
        self._refused = False

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._upgrade_asked = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._upgrade_asked:
            return
        self._in_head = False
        if self._refusals is not None and self._refusals.admission.full and self._may_refuse():
            refused = self._refusals.refuse(self._small_scope())
            if refused is not None:
                self._refused = True
                self._write_error(*refused)
                self.on_response_complete()
                return
        super().on_headers_complete()

    def _may_refuse(self) -> bool:
        """Whether the request may be answered before anything is made for it.

        It goes the long way if an earlier one is not answered yet, if its client reads no answers, if it is
        the connection's last one, or if its body waits to be asked for.
        """
        answered = self.cycle is None or self.cycle.response_complete
        stays = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return answered and not self.flow.write_paused and stays and not self.expect_100_continue

    def _small_scope(self) -> dict[str, Any]:
        """As much of the ASGI scope as a refusal needs."""
        raw_path = httptools.parse_url(self.url).path
        return {
            "method": self.parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "headers": self.headers,
        }

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if not self._refused:
            super().on_body(body)

    def on_response_complete(self) -> None:
        """An answer is written."""
        self._corked.flush()
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """A request is there. If it all came at once, the app has not begun with it yet."""
        if self._upgrade_asked or self._refused:
            return
        super().on_message_complete()
        cast(dict[str, Any], self.scope)[COMPLETE_KEY] = True

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP in the one error shape, and closes the connection.

        An earlier request on this connection that is there completely gets its own answer as the last one.
        """
        self._ended = True
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
        answered = self._refused or (self.cycle is not None and self.cycle.response_complete)
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
