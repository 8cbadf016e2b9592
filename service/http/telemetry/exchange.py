"""One request and its answer, as far as log, metrics and traces keep it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.contract.messages import Predicted, Scored, Timing
from service.http.telemetry.endpoints import Endpoint

MAX_STEPS = 16
"""A completion asks the engine once a word; more steps than these have no spans."""


@dataclass(slots=True)
class Step:
    """One time that the engine was asked: when, how the slowest input's time went, and what was asked for."""

    submitted: float
    timing: Timing
    head: str


@dataclass(slots=True)
class Trace:
    """What a request's spans are made of. Times are `time.monotonic()`."""

    tokenizing: float | None = None
    submitted: float | None = None
    steps: list[Step] = field(default_factory=list)
    asked: int = 0
    model: str | None = None
    error: str | None = None
    """The error's `code`."""

    def read(self, model: str) -> None:
        """The body is read, and `model` is asked."""
        self.tokenizing, self.model = time.monotonic(), model

    def submit(self) -> float:
        """The engine is asked from now on; returns the time."""
        now = time.monotonic()
        if self.submitted is None:
            self.submitted = now
        self.asked += 1
        return now

    def answered(self, submitted: float, answers: Sequence[Predicted] | Sequence[Scored]) -> None:
        """The engine has answered what was submitted at that time."""
        if len(self.steps) < MAX_STEPS:
            timings = [answer.timing for answer in answers]
            slowest = max(timings, key=lambda timing: timing.queue_seconds + timing.engine_seconds)
            head = "topk" if isinstance(answers[0], Predicted) else "score"
            self.steps.append(Step(submitted, slowest, head))


@dataclass(slots=True)
class Exchange:
    """A request and its answer. Each layer that a request passes is handed this record of it.

    `started` is `time.monotonic()`; the engine's seconds are those of the slowest input.
    """

    id: str
    endpoint: Endpoint
    headers: dict[bytes, bytes]
    """The request's, names in lower case; of several with one name the first."""
    trace: Trace | None = None
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    inputs: int = 0
    bytes_in: int = 0
    body_ended: bool = False
    bytes_out: int = 0
    reason: str | None = None
    """Why it was not a request at all, for the log."""
    queue_seconds: float | None = None
    engine_seconds: float | None = None
