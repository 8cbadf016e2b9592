"""The server's life as HTTP sees it: what runs now, and whether it is about to exit."""

import asyncio


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

    @property
    def full(self) -> bool:
        """Whether one more request would be too many."""
        return self.in_flight >= self.max_concurrent

    def enter(self) -> None:
        """One more request was accepted."""
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """An accepted request was answered, or its client went away."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Waits until every accepted request is answered."""
        await self._idle.wait()
