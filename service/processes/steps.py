"""What is to be done later, in a process that waits for events with a `select` of its own."""

import time
from collections.abc import Callable


class Steps:
    """Functions, each with the time from which on it is to be called."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, step: Callable[[], None]) -> None:
        """Lets `run` call `step` when so many seconds have passed."""
        self._steps.append((time.monotonic() + seconds, step))

    def timeout(self) -> float | None:
        """Seconds until the next step; None if there is none."""
        when = min((when for when, _ in self._steps), default=None)
        return None if when is None else max(0.0, when - time.monotonic())

    def run(self) -> None:
        """Takes the steps whose time has come."""
        now = time.monotonic()
        due = [step for when, step in self._steps if when <= now]
        self._steps = [step for step in self._steps if step[0] > now]
        for step in due:
            step()

    def clear(self) -> None:
        """Forgets them all."""
        self._steps.clear()
