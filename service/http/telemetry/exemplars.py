"""Which requests a latency histogram points to: one for each bucket and endpoint, at most a second old."""

import re
import time
from bisect import bisect_left

from service.metrics.registry import LATENCY_BUCKETS

FRESH_SECONDS = 1.0
"""An exemplar is replaced after this: a new one each time would cost more than counting does."""

MAX_ID_CHARS = 128 - len("request_id")
"""OpenMetrics allows an exemplar's labels 128 characters, names and values together."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


class Exemplars:
    """Remembers for which buckets a new exemplar is due."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, int], float] = {}

    def labels(
        self, endpoint: str, seconds: float, request_id: str, trace_id: str | None, traceparent: bytes | None
    ) -> dict[str, str] | None:
        """The labels that point to this request, or None where its bucket has a fresh exemplar.

        Args:
            trace_id: of its trace, if this server made one.
            traceparent: as the client sent it; used if it says that the trace is kept.
        """
        bucket = endpoint, bisect_left(LATENCY_BUCKETS, seconds)
        now = time.monotonic()
        if now < self._due.get(bucket, 0.0):
            return None
        if trace_id is None and traceparent is not None:
            trace_id = sampled_trace(traceparent)
        if trace_id is not None:
            labels = {"trace_id": trace_id}
        elif len(request_id) <= MAX_ID_CHARS:
            labels = {"request_id": request_id}
        else:
            return None
        self._due[bucket] = now + FRESH_SECONDS
        return labels


def sampled_trace(traceparent: bytes) -> str | None:
    """The trace's id, if the header is well formed and its `sampled` flag is set (W3C Trace Context, 3.2)."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or not int(found[2], 16) & 1:
        return None
    return found[1].decode()
