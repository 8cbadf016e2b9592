"""How fast work is done, and when the rest of it will be: what `Retry-After` says."""

import math

MEMORY_SECONDS = 10.0
"""Work that is older counts for less than a third."""
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0


class Rate:
    """The rate of the last work, in any unit of it; older work counts exponentially less. Not locked."""

    def __init__(self) -> None:
        self._amount = 0.0
        self._seconds = 0.0

    def add(self, amount: float, seconds: float) -> None:
        """Notes that so much work was done in this time. Time without any work to do is left out."""
        decay = math.exp(-seconds / MEMORY_SECONDS)
        self._amount = self._amount * decay + amount
        self._seconds = self._seconds * decay + seconds

    def retry_after(self, left: float) -> float:
        """Seconds until so much work will be done at this rate, at most `MAX_RETRY_SECONDS`."""
        if self._amount == 0:
            return FIRST_RETRY_SECONDS
        return min(MAX_RETRY_SECONDS, left * self._seconds / self._amount)
