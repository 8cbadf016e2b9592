"""When a client asks again, and how long it waits first."""

import random
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time

RETRIED = frozenset({429, 503})
"""Statuses that say "later": the request was not begun, so asking again does no work twice."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently a client asks again.

    The server says in `Retry-After` when there will be room; where it says nothing (no connection), waits
    double from `first_wait` on, each shortened at random by up to a half so that many clients do not come
    back at once.

    Args:
        attempts: requests at most, the first among them; 1 never asks again.
        first_wait: seconds before the second attempt where the server names none.
        longest_wait: seconds; a server that asks for more is not waited for.
    """

    attempts: int = 5
    first_wait: float = 0.25
    longest_wait: float = 30.0
    rng: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")

    def wait(self, attempt: int, retry_after: str | None = None) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 1) failed; None: give up."""
        if attempt >= self.attempts:
            return None
        asked = None if retry_after is None else seconds(retry_after)
        if asked is not None:
            return asked if asked <= self.longest_wait else None
        wait: float = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return wait * (1 - self.rng.random() / 2)


def seconds(retry_after: str) -> float | None:
    """A `Retry-After` header in seconds from now, a number or a date (RFC 9110, 10.2.3); None if neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except ValueError:
        return None
