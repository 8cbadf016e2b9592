"""What surrounds every request: id, log line and metrics; key, admission and declared length.

From the outside in: `Observe` (id, errors in the one shape, log, metrics) > `Guard` (key, draining, how many
at once, how long) > the routes. Each hands the request's `Exchange` on to the next.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from service.contract.errors import (
    ClientDisconnected,
    HeadfirstError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooManyBytes,
    Unauthorized,
    UnsupportedMediaType,
)
from service.http.edge.admission import Admission
from service.http.edge.connection import CONNECTION_KEY, Connection
from service.http.edge.error_response import ErrorResponse
from service.http.telemetry.exchange import Exchange
from service.http.telemetry.recorder import Recorder

logger = logging.getLogger("headfirst")

Handler = Callable[[Exchange, Scope, Receive, Send], Awaitable[None]]
"""Answers a request, whose record it is handed beside what ASGI hands."""

LINGER_SECONDS = 5.0
LINGER_BYTES = 256 * 1024 * 1024


def as_headfirst_error(error: Exception) -> HeadfirstError:
    """The error to answer for any exception of a request: itself, the router's 404 and 405, or 500."""
    if isinstance(error, HeadfirstError):
        return error
    if isinstance(error, HTTPException) and error.status_code == 404:
        return NotFound()
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed(allowed=(error.headers or {}).get("Allow", ""))
    return InternalError()


async def send_error(error: HeadfirstError, send: Send, *, more_body: bool = False) -> None:
    """Answers with `error` in the one error shape."""
    response = ErrorResponse(error)
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": more_body})


class Observe:
    """Gives each request an id, answers its exceptions, and writes its log line and metrics."""

    def __init__(self, app: Handler, recorder: Recorder, admission: Admission) -> None:
        self.app = app
        self._admission = admission
        self._recorder = recorder
        self._in_progress = recorder.metrics.requests_in_progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; an ASGI app for the type `http`."""
        exchange = self._recorder.begin(scope)
        connection: Connection | None = scope.get(CONNECTION_KEY)
        request_id = exchange.id.encode()

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id)]
                if self._admission.draining:
                    # The client's next request belongs to another server.
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
                if connection is not None:
                    connection.cork()
            else:
                exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        self._in_progress.inc()
        linger = False
        try:
            await self.app(exchange, scope, receive, observed_send)
        except Exception as error:
            linger = isinstance(error, TooLarge | TooManyBytes) and not exchange.body_ended
            await self._answer(error, exchange, observed_send, linger=linger)
        except asyncio.CancelledError:
            exchange.status = exchange.status or ClientDisconnected.status
            raise
        finally:
            self._in_progress.dec()
            self._recorder.end(scope, exchange)
        if linger:
            await _discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, error: Exception, exchange: Exchange, send: Send, *, linger: bool) -> None:
        fault = as_headfirst_error(error)
        self._recorder.failed(exchange, fault)
        if isinstance(fault, InternalError):
            fields = {"id": exchange.id, "endpoint": exchange.endpoint.path}
            logger.error("request failed", exc_info=error, extra={"fields": fields})
        if isinstance(fault, ClientDisconnected):
            exchange.status = fault.status
        elif exchange.status:
            # Too late for another answer: the server breaks the connection, so that the client sees a fault.
            raise error
        else:
            await send_error(fault, send, more_body=linger)


class Guard:
    """Asks for the key, lets `admission` decide on requests to a model, and refuses a body of more than
    `max_bytes` by its declared length; bytes are counted where a body is read."""

    def __init__(self, app: Handler, admission: Admission, max_bytes: int) -> None:
        self.app = app
        self._admission = admission
        self._max_bytes = max_bytes

    async def __call__(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on, or raises Unauthorized, Draining, TooManyRequests, TooLarge or
        UnsupportedMediaType."""
        admission = self._admission
        if not admission.has_key(exchange):
            raise Unauthorized
        asks_model = exchange.endpoint.asks_model and scope["method"] == "POST"
        epoch = admission.enter() if asks_model else None
        try:
            if b"origin" in exchange.headers and scope["method"] == "POST":
                _check_origin(exchange)
            declared = exchange.headers.get(b"content-length", b"")
            if declared.isdigit() and int(declared) > self._max_bytes:
                raise TooLarge.of_body(self._max_bytes)
            await self.app(exchange, scope, receive, send)
        finally:
            if epoch is not None:
                admission.leave(epoch)


def _check_origin(exchange: Exchange) -> None:
    """Raises UnsupportedMediaType if a page of another origin sends another type than JSON.

    Browsers let every page send a form's types, and ask the server before all others: it never allows it.
    """
    headers = exchange.headers
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        return
    origin = headers[b"origin"].lower().rpartition(b"://")[2]
    if not origin or origin != headers.get(b"host", b"").lower():
        raise UnsupportedMediaType


async def _discard(receive: Receive) -> None:
    """Throws away what the client still sends after its 413, for `LINGER_SECONDS` and `LINGER_BYTES` at most.

    Closing the connection under a client that still writes would destroy the answer before it is read.
    """
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while size < LINGER_BYTES:
                message = await receive()
                if not message.get("more_body", False):
                    return
                size += len(message["body"])
