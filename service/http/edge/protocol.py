"""The first line of defense, below ASGI: what a client sends or leaves unread is bounded in bytes and time.

uvicorn bounds neither: a header of a gigabyte would be collected in memory, and a client that sends its head
a byte an hour would hold its connection forever. Bytes that are not HTTP, and hosts that are not ours, get
the one error shape here, too.

This is the one file that stands on how uvicorn is made inside: on methods of its protocol that are called
back by the parser, and on attributes of it and of its cycle (a request and its answer). None of them has an
underscore, but none is documented either: tests/service/http/edge/test_uvicorn.py tells which ones a new
uvicorn lacks, and pyproject.toml has an upper bound until that test has passed.
"""

import asyncio
import logging
import urllib.parse
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.contract.errors import HeadfirstError, InvalidHost, MalformedBody
from service.http.edge.connection import COMPLETE_KEY, CONNECTION_KEY, UNFRAMED_KEY, Connection
from service.http.edge.corked import Corked
from service.http.edge.error_response import ErrorResponse
from service.http.edge.hosts import Hosts
from service.http.edge.refusals import Refusals
from service.http.edge.write_watch import WriteWatch

logger = logging.getLogger("headfirst")

MAX_HEAD_BYTES = 64 * 1024
"""Of a head, of the trailers of a chunked body, and of what frames its chunks beyond the usual."""
FEED_BYTES = 16 * 1024
"""The parser is fed so much at once: it tells of what a bound is for only when that is there as a whole."""
CHUNK_BYTES = 16
"""A chunk may have so many bytes beside its data, and twice its data, before they count."""
HEAD_SECONDS = 30.0
"""Also for what is left of a body whose request was answered before it came."""
LINGER_SECONDS = 1.0
"""What a refused client still sends is thrown away for so long; a connection closed under its writes would
destroy the answer before it is read."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with these bounds; tells requests of their `Connection`, and answers some itself.

    Args:
        refusals: asked of each request whether it is refused at once, and told of what is not HTTP.
        hosts: asked of each request whether its host is allowed.
        write_timeout: seconds for which a client may take nothing of what was written.
    """

    def __init__(
        self,
        *args: Any,
        refusals: Refusals,
        hosts: Hosts | None = None,
        write_timeout: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = refusals
        self._hosts = hosts or Hosts()
        self._write_timeout = write_timeout
        # A new connection owes a head from its first moment on.
        self.url = b""
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0
        """Of the head or trailers, as far as the parser told them."""
        self._unread = 0
        """Bytes that came and are neither of a body nor what a body's chunks usually have beside it."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._ended = False
        """Whether this connection ends with what was asked so far; what still comes is thrown away."""
        self._refused = False
        """Whether the request that comes now was refused; its body is thrown away."""
        self._fault: HeadfirstError | None = None
        """Why the parser was stopped by us."""
        self._upgrade_asked = False
        self._previous: Any = None
        """The cycle before `cycle`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its head has to be, soon."""
        super().connection_made(transport)
        self._watch = WriteWatch(transport, self._write_timeout)
        self.transport = self._corked = cast(Any, Corked(transport, self._watch))
        self._connection = Connection(self._corked.cork, self._give_up)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and with it all that is known of its requests."""
        self._stop_timer()
        self._watch.stop()
        self._stop_idle_timer()
        super().connection_lost(exc)
        self._connection.lose()
        self.pipeline.clear()
        theirs = cast(Any, self)
        theirs.cycle = theirs.scope = theirs.headers = self._previous = None

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it still reads the answers to what it has asked."""
        self._ended = True
        self._stop_timer()
        return self._last_answer()

    def _give_up(self) -> None:
        if self.flow.write_paused:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: of its head, its body, or the next request's head."""
        if self._ended:
            return
        self._stop_idle_timer()
        for at in range(0, len(data), FEED_BYTES):
            piece = data if len(data) <= FEED_BYTES else data[at : at + FEED_BYTES]
            self._unread += len(piece)
            self._feed(piece)
            if not self._ended and self._unread > MAX_HEAD_BYTES:
                self._refuse(_too_long())
            if self._ended:
                return
        answered = self._refused or (self.cycle is not None and self.cycle.response_complete)
        if self._in_head or (self._in_body and answered):
            # Its time goes on, whatever came.
            if self._head_timer is None:
                self._start_timer()
        else:
            self._stop_timer()
            if answered and not self.transport.is_closing():
                # uvicorn starts this timer only with an answer, in `on_response_complete`, which counts the
                # request and begins the next one. These bytes are of a body that was answered before.
                self._stop_idle_timer()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

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
            except httptools.HttpParserError as error:
                self._not_http(error)
                return

    def _not_http(self, error: httptools.HttpParserError) -> None:
        told = "" if isinstance(error, httptools.HttpParserCallbackError) else str(error).rstrip(".")
        message = f"Invalid HTTP request received{': ' * bool(told)}{told}."
        self._refuse(self._fault or MalformedBody(message, code="invalid_http"))

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
        except httptools.HttpParserError as error:
            self._not_http(error)
            return False
        return True

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[CONNECTION_KEY] = self._connection
        self._in_head = True
        self._head_bytes = 0
        self._refused = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which is dropped: none may count as a header (RFC 9110, 6.5.1)."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fault = _too_long()
            raise self._fault

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._upgrade_asked = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._upgrade_asked:
            return
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fault = MalformedBody("The server speaks HTTP/1.1 and HTTP/1.0.", code="invalid_http")
            raise self._fault
        unfit = self._hosts.fault(version, self.url, self.headers)
        if unfit is not None:
            self._fault = InvalidHost(unfit)
            raise self._fault
        self._in_head, self._in_body = False, True
        self._head_bytes = 0
        if self._refusals.admission.full and self._may_refuse():
            refused = self._refusals.refuse(self._small_scope())
            if refused is not None:
                self._refused = True
                self._write_error(*refused)
                self.on_response_complete()
                return
        if version == "1.0":
            self.expect_100_continue = False
        previous = self.cycle
        super().on_headers_complete()
        self._previous = previous
        if version == "1.0":
            cast(dict[str, Any], self.scope)[UNFRAMED_KEY] = partial(_unframe, self.cycle)

    def _may_refuse(self) -> bool:
        """Whether the request may be answered before anything is made for it.

        It goes the long way if an earlier one is not answered yet, if its client reads no answers, if it is
        the connection's last one, or if its body waits to be asked for.
        """
        answered = self.cycle is None or self.cycle.response_complete
        stays = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return answered and not self.flow.write_paused and stays and not self.expect_100_continue

    def _small_scope(self) -> dict[str, Any]:
        """As much of the ASGI scope as a refusal needs; of what is not HTTP, as much as is known."""
        known = (self._in_head or self._in_body) and bool(self.url)
        try:
            raw_path = (httptools.parse_url(self.url).path or b"") if known else b""
        except httptools.HttpParserError:
            raw_path = self.url
        return {
            "method": self.parser.get_method().decode("ascii") if known else "",
            "path": urllib.parse.unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "headers": self.headers if known else [],
            "client": self.client,
        }

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._unread = max(0, self._unread - 3 * len(body))
        if not self._refused:
            super().on_body(body)

    def on_chunk_header(self) -> None:
        """A chunk begins, or the end that has no data."""
        self._unread = max(0, self._unread - CHUNK_BYTES)

    def on_response_complete(self) -> None:
        """An answer is written."""
        self._corked.flush()
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """A request is there. If it all came at once, the app has not begun with it yet."""
        if self._upgrade_asked:
            return
        self._in_body = False
        self._unread = 0
        if self._refused:
            return
        super().on_message_complete()
        cast(dict[str, Any], self.scope)[COMPLETE_KEY] = True

    def _refuse(self, error: HeadfirstError) -> None:
        """Answers what is not HTTP, or not for us, in the one error shape, and closes the connection.

        An earlier request on this connection that is there completely gets its own answer as the last one.
        """
        self._ended = True
        self._stop_timer()
        answered = self._in_body and (self._refused or self.cycle.response_complete)
        if self._last_answer():
            return
        response, own_id = self._refusals.not_http(self._small_scope(), error)
        if not answered:
            self._write_error(response, own_id, (b"connection: close",))
        self.transport.write_eof()
        self._head_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _last_answer(self) -> bool:
        """Whether there are answers to come; the last of them is marked as the connection's last one.

        A request of which a part is missing is given up.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body and self.pipeline:
            self.pipeline.popleft()
            cycle = self.cycle = self._previous
        elif cycle.more_body and not cycle.response_started:
            cycle.disconnected = True
            cycle.message_event.set()
            return False
        cycle.keep_alive = False
        return True

    def _write_error(self, response: ErrorResponse, own_id: str, headers: tuple[bytes, ...] = ()) -> None:
        status = response.status
        head = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
            *(name + b": " + value for name, value in self.server_state.default_headers),
            *(name + b": " + value for name, value in response.headers),
            *headers,
            b"x-request-id: " + own_id.encode(),
        ]
        asked_by_head = bool(self.url) and self.parser.get_method() == b"HEAD"
        body = b"" if asked_by_head else response.body
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)

    def _stop_idle_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

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


def _too_long() -> MalformedBody:
    message = f"The head of a request must have at most {MAX_HEAD_BYTES} bytes, as must its trailers."
    return MalformedBody(message, code="invalid_http")


def _unframe(cycle: Any, size: int) -> None:
    """The next piece of the answer, `size` bytes, is sent as it is."""
    cycle.chunked_encoding = False
    cycle.expected_content_length = size
