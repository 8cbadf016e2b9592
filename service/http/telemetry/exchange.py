"""One request and its answer, as far as whoever observes it wants to know."""

import time
from dataclasses import dataclass, field

from starlette.types import Scope

from service.http.telemetry.tracing import Trace

SCOPE_KEY = "headfirst.exchange"
"""Where a scope has its `Exchange`."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as far as log and metrics want to know.

    `started` is `time.monotonic()`; the engine's seconds are those of the slowest input.
    """

    id: str
    endpoint: str
    headers: dict[bytes, bytes]
    """The request's, names in lower case; of several with one name the first."""
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    inputs: int = 0
    bytes_in: int = 0
    body_ended: bool = False
    bytes_out: int = 0
    queue_seconds: float | None = None
    engine_seconds: float | None = None
    trace: Trace | None = None


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that `Observe` made for this request."""
    exchange: Exchange = scope[SCOPE_KEY]
    return exchange
