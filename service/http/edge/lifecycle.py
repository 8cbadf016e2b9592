"""The server's life as HTTP sees it: what runs now, and whether it is about to exit."""

import asyncio
import time
from collections import Counter, deque

RATE_ANSWERS = 256
"""By the last so many answers the rate is told."""
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0


class Lifecycle:
    """Counts the requests to the model that were accepted and not answered yet; knows when draining began.

    Used from the event loop's thread only.

    Args:
        max_concurrent: as many requests may be accepted at once.
    """

    def __init__(self, max_concurrent: int) -> None:
        self.max_concurrent = max_concurrent
        self.in_flight = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._epoch = 0
        self._running: Counter[int] = Counter()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        # When the last answers were given since there was nothing to do, and before them that moment.
        self._times: deque[float] = deque(maxlen=RATE_ANSWERS + 1)

    @property
    def full(self) -> bool:
        """Whether one more request would be too many."""
        return self.in_flight >= self.max_concurrent

    def enter(self) -> int:
        """One more request was accepted. Returns what to give back to `leave`."""
        if not self.in_flight:
            self._times.clear()
            self._times.append(time.monotonic())
        self.in_flight += 1
        self._idle.clear()
        self._running[self._epoch] += 1
        return self._epoch

    def leave(self, epoch: int) -> None:
        """An accepted request was answered, or its client went away."""
        self.in_flight -= 1
        self._times.append(time.monotonic())
        if self.in_flight == 0:
            self._idle.set()
        self._running[epoch] -= 1
        if not self._running[epoch]:
            del self._running[epoch]
            for until, waiter in self._waiters:
                if not self._runs(until) and not waiter.done():
                    waiter.set_result(None)

    def retry_after(self) -> float:
        """Seconds until the requests that run now will have been answered, at the present rate."""
        answers = len(self._times) - 1
        if answers < 1:
            return FIRST_RETRY_SECONDS
        return min(MAX_RETRY_SECONDS, self.in_flight * (time.monotonic() - self._times[0]) / answers)

    async def wait_idle(self) -> None:
        """Waits until every accepted request is answered."""
        await self._idle.wait()

    async def wait_earlier(self) -> None:
        """Waits until every request is answered that was accepted before this call; later ones may run."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        if not self._runs(epoch):
            return
        waiter = epoch, asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.remove(waiter)

    def _runs(self, epoch: int) -> bool:
        """Whether a request of this epoch or an earlier one is not answered yet."""
        return any(running <= epoch for running in self._running)
