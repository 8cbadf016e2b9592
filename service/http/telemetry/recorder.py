"""What is kept of every request: its metrics, its log line, its trace."""

import itertools
import logging
import os
import re
import time
import uuid
from functools import cache

from starlette.types import Scope

from service.contract.errors import HeadfirstError
from service.http.telemetry.client_address import ClientAddress
from service.http.telemetry.endpoints import Endpoints
from service.http.telemetry.exchange import Exchange, Trace
from service.http.telemetry.exemplars import Exemplars
from service.http.telemetry.tracing import Tracing
from service.metrics.registry import Metrics

access = logging.getLogger("headfirst.access")

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

_ids = itertools.count(uuid.uuid4().int)


def _count_from_another() -> None:
    global _ids
    _ids = itertools.count(uuid.uuid4().int)


# Workers are forked from one process, and would all count on from its number.
os.register_at_fork(after_in_child=_count_from_another)


def request_id(given: bytes) -> bytes:
    """The client's id if it is short and plain enough for a header and a log line, else a new one.

    New ones count on from a random number: 32 hexadecimal digits that no other process has.
    """
    if given and _SANE_ID.fullmatch(given):
        return given
    return b"%032x" % (next(_ids) % 2**128)


class Recorder:
    """Begins and ends the record of each request. Used on the event loop.

    Args:
        metrics: counted in.
        endpoints: which row a path has.
        tracing: traces requests, if given.
        address: finds a request's client where there are proxies; else the connection's is it.
    """

    def __init__(
        self,
        metrics: Metrics,
        endpoints: Endpoints,
        tracing: Tracing | None = None,
        address: ClientAddress | None = None,
    ) -> None:
        self._address = address
        self.metrics = metrics
        self._endpoints = endpoints
        self._tracing = tracing
        self._exemplars = Exemplars()
        # To look a series up takes longer than to count in it.
        self._requests = cache(lambda endpoint, status: metrics.requests_total.labels(endpoint, str(status)))
        self._durations = cache(metrics.request_duration_seconds.labels)
        self._rejected = cache(metrics.rejected_total.labels)

    def begin(self, scope: Scope) -> Exchange:
        """The record of a request whose head is there."""
        # Of several headers with one name the first counts.
        headers = dict(reversed(scope["headers"]))
        own_id = request_id(headers.get(b"x-request-id", b"")).decode()
        endpoint = self._endpoints[scope["path"]]
        trace = Trace() if self._tracing is not None and endpoint.traced else None
        return Exchange(own_id, endpoint, headers, trace)

    def failed(self, exchange: Exchange, error: HeadfirstError) -> None:
        """Notes what a request gets for an answer; counts one to a model that gets none of the model's."""
        if exchange.trace is not None:
            exchange.trace.error = error.code
        if error.reason is not None and exchange.endpoint.asks_model:
            self._rejected(error.reason).inc()

    def end(self, scope: Scope, exchange: Exchange) -> None:
        """Counts and logs a request that is answered, or whose client has left."""
        seconds = time.monotonic() - exchange.started
        endpoint = exchange.endpoint.path
        self._requests(endpoint, exchange.status).inc()
        trace_id = None if self._tracing is None else self._tracing.end(exchange, scope["method"])
        traceparent = exchange.headers.get(b"traceparent")
        exemplar = self._exemplars.labels(endpoint, seconds, exchange.id, trace_id, traceparent)
        self._durations(endpoint).observe(seconds, exemplar)
        if access.isEnabledFor(logging.INFO):
            client = (scope.get("client") or (None,))[0] if self._address is None else self._address.of(scope)
            fields = _fields(scope, exchange, seconds, trace_id, client)
            access.info("request", extra={"fields": fields})


def _fields(
    scope: Scope, exchange: Exchange, seconds: float, trace_id: str | None, client: str | None
) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": exchange.id,
        "method": scope["method"],
        # As sent, still percent-encoded: no control characters reach the log. Never the query.
        "path": scope.get("raw_path", scope["path"].encode())[:200].decode("ascii", "backslashreplace"),
        "client": client,
        "status": exchange.status,
        "inputs": exchange.inputs,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "total_ms": round(seconds * 1e3, 3),
    }
    if exchange.reason is not None:
        fields["reason"] = exchange.reason
    if exchange.queue_seconds is not None and exchange.engine_seconds is not None:
        fields["queue_ms"] = round(exchange.queue_seconds * 1e3, 3)
        fields["engine_ms"] = round(exchange.engine_seconds * 1e3, 3)
    if trace_id is not None:
        fields["trace_id"] = trace_id
    return fields
