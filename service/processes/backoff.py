"""How long to wait before a process that ended is started again, and when to give it up."""

FIRST_SECONDS = 0.1
MAX_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A process that served for so long has not failed quickly."""
MAX_QUICK_FAILURES = 6
"""After so many in a row, about 3 s of waiting, starting it once more would not help."""


class Backoff:
    """Counts the quick failures in a row of one process and those that take its place."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self, served: float) -> float | None:
        """Seconds to wait, doubled from one quick failure to the next; None to give up.

        Args:
            served: seconds from when the process was ready to its end; 0 if it never was.
        """
        if served >= STEADY_SECONDS:
            self._failures = 0
        self._failures += 1
        if self._failures >= MAX_QUICK_FAILURES:
            return None
        return float(min(MAX_SECONDS, FIRST_SECONDS * 2 ** (self._failures - 1)))
