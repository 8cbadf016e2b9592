"""What surrounds every request, as plain ASGI: id, log line and metrics; key and admission; body limit.

From the outside in: `Observe` (id, errors in the one shape, log, metrics) > `Guard` (key, draining, how many
at once) > `LimitBody` > the routes.
"""

import asyncio
import contextlib
import logging

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.contract.errors import (
    ClientDisconnected,
    HeadfirstError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthorized,
)
from service.http.edge.admission import Admission
from service.http.edge.error_response import ErrorResponse
from service.http.edge.lifecycle import Lifecycle
from service.http.telemetry.exchange import SCOPE_KEY, Exchange, exchange_of
from service.http.telemetry.recorder import Recorder

logger = logging.getLogger("headfirst")

_KEYED = ("/v1/", "/v2/models/", "/tokenize", "/detokenize")
"""What a key is asked for: all that tells of a model or asks it."""

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

    def __init__(self, app: ASGIApp, recorder: Recorder, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self._recorder = recorder
        self._in_progress = recorder.metrics.requests_in_progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = scope[SCOPE_KEY] = self._recorder.begin(scope)
        request_id = exchange.id.encode()

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id)]
                if self.lifecycle.draining:
                    # The client's next request belongs to another server.
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            else:
                exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        self._in_progress.inc()
        linger = False
        try:
            await self.app(scope, receive, observed_send)
        except Exception as error:
            linger = isinstance(error, TooLarge) and not exchange.body_ended
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
            fields = {"id": exchange.id, "endpoint": exchange.endpoint}
            logger.error("request failed", exc_info=error, extra={"fields": fields})
        if isinstance(fault, ClientDisconnected):
            exchange.status = fault.status
        elif exchange.status:
            # Too late for another answer: the server breaks the connection, so that the client sees a fault.
            raise error
        else:
            await send_error(fault, send, more_body=linger)


class Guard:
    """Asks for the key on all paths that tell of a model, and lets `admission` decide on requests to one."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on, or raises Unauthorized, Draining or TooManyRequests."""
        if scope["type"] != "http" or not scope["path"].startswith(_KEYED):
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        admission = self._admission
        if not admission.has_key(exchange):
            raise Unauthorized
        if not admission.asks_model(scope["method"], exchange.endpoint):
            await self.app(scope, receive, send)
            return
        epoch = admission.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            admission.leave(epoch)


class LimitBody:
    """Refuses a body of more than `max_bytes`, by its declared length or by its bytes as they come."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on, or raises TooLarge, also from `receive`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        declared = exchange.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_bytes:
            raise self._too_large()

        async def counted_receive() -> Message:
            message = await receive()
            exchange.bytes_in += len(message.get("body", b""))
            exchange.body_ended = not message.get("more_body", False)
            if exchange.bytes_in > self.max_bytes:
                raise self._too_large()
            return message

        await self.app(scope, counted_receive, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body has more than {self.max_bytes} bytes, which is what this server accepts.")


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
