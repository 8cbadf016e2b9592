"""What surrounds every request, as plain ASGI: id, log line and metrics; key and admission; body limit.

From the outside in: `Observe` (id, errors in the one shape, log, metrics) > `Guard` (key, draining, how many
at once) > `LimitBody` > the routes.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import time
import uuid
from functools import cache

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    ClientDisconnected,
    Draining,
    HeadfirstError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
)
from service.exchange import SCOPE_KEY, Exchange, exchange_of
from service.exemplars import Exemplars
from service.keys import Key
from service.lifecycle import Lifecycle
from service.metrics import ENDPOINTS, Metrics
from service.tracing import Tracing

logger = logging.getLogger("headfirst")
access = logging.getLogger("headfirst.access")

MODEL_PATHS = frozenset({"/v1/predict", "/v1/score", "/v1/completions"})
INFER = "/v2/models/{model}/infer"
MODEL_ENDPOINTS = MODEL_PATHS | {INFER}
_KEYED = ("/v1/", "/v2/models/", "/tokenize", "/detokenize")
"""What a key is asked for: all that tells of a model or asks it."""
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

LINGER_SECONDS = 5.0
LINGER_BYTES = 256 * 1024 * 1024


def endpoint_of(path: str) -> str:
    """The label of a path in the metrics, of which there are few."""
    if path in ENDPOINTS:
        return path
    if path.startswith("/v2/models/"):
        return INFER if path.endswith("/infer") else "/v2/models/{model}"
    return "/v1/models/{name}" if path.startswith("/v1/models/") else "other"


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
    body = error.body()
    headers = {"content-type": "application/json", "content-length": str(len(body))} | error.headers()
    raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


class Observe:
    """Gives each request an id, answers its exceptions, and writes its log line and metrics."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle, tracing: Tracing | None = None
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.lifecycle = lifecycle
        self.tracing = tracing
        self._exemplars = Exemplars() if metrics.exemplars else None
        # Looking a series up takes longer than counting in it.
        self._requests = cache(lambda endpoint, status: metrics.requests_total.labels(endpoint, str(status)))
        self._durations = cache(metrics.request_duration_seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        headers = dict(reversed(scope["headers"]))
        request_id = _request_id(headers.get(b"x-request-id", b""))
        exchange = Exchange(request_id.decode(), endpoint_of(path), headers)
        scope[SCOPE_KEY] = exchange
        if self.tracing is not None:
            exchange.trace = self.tracing.begin(exchange.endpoint)

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

        self.metrics.requests_in_progress.inc()
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
            self.metrics.requests_in_progress.dec()
            self._record(scope, exchange)
        if linger:
            await _discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, error: Exception, exchange: Exchange, send: Send, *, linger: bool) -> None:
        fault = as_headfirst_error(error)
        if exchange.trace is not None:
            exchange.trace.error = fault.code
        if exchange.endpoint in MODEL_ENDPOINTS and fault.reason is not None:
            self.metrics.rejected_total.labels(fault.reason).inc()
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

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.started
        self._requests(exchange.endpoint, exchange.status).inc()
        trace_id = None if self.tracing is None else self.tracing.end(exchange, scope["method"])
        exemplar = None
        if self._exemplars is not None:
            traceparent = exchange.headers.get(b"traceparent")
            exemplar = self._exemplars.labels(exchange.endpoint, seconds, exchange.id, trace_id, traceparent)
        self._durations(exchange.endpoint).observe(seconds, exemplar)
        if access.isEnabledFor(logging.INFO):
            fields: dict[str, object] = {
                "id": exchange.id,
                "method": scope["method"],
                # As sent, still percent-encoded: no control characters reach the log. Never the query.
                "path": scope.get("raw_path", scope["path"].encode())[:200].decode(
                    "ascii", "backslashreplace"
                ),
                "status": exchange.status,
                "inputs": exchange.inputs,
                "bytes_in": exchange.bytes_in,
                "bytes_out": exchange.bytes_out,
                "total_ms": round(seconds * 1e3, 3),
            }
            if exchange.queue_seconds is not None and exchange.engine_seconds is not None:
                fields["queue_ms"] = round(exchange.queue_seconds * 1e3, 3)
                fields["engine_ms"] = round(exchange.engine_seconds * 1e3, 3)
            if trace_id is not None:
                fields["trace_id"] = trace_id
            access.info("request", extra={"fields": fields})


class Guard:
    """Asks for the key on all paths that tell of a model, and admits requests to one: not while draining, not
    too many."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, api_key: bytes | None) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self._key = None if api_key is None else Key(api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on, or raises Unauthorized, Draining or TooManyRequests."""
        if scope["type"] != "http" or not scope["path"].startswith(_KEYED):
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        if self._key is not None and not self._key.opens(exchange.headers.get(b"authorization", b"")):
            raise Unauthorized
        if exchange.endpoint not in MODEL_ENDPOINTS or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.lifecycle.draining:
            raise Draining
        if self.lifecycle.full:
            raise TooManyRequests
        epoch = self.lifecycle.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.lifecycle.leave(epoch)


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


_ids = itertools.count(uuid.uuid4().int)


def _count_from_another() -> None:
    global _ids
    _ids = itertools.count(uuid.uuid4().int)


# Workers are forked from one process, and would all count on from its number.
os.register_at_fork(after_in_child=_count_from_another)


def _request_id(given: bytes) -> bytes:
    """The client's id if it is short and plain enough for a header and a log line, else a new one.

    New ones count on from a random number: 32 hexadecimal digits that no other process has.
    """
    if given and _SANE_ID.fullmatch(given):
        return given
    return b"%032x" % (next(_ids) % 2**128)
