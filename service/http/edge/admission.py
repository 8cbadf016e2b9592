"""Which requests get in: by key, while there is a place, and until the server drains."""

import asyncio
import hashlib
import hmac
import time
from collections import Counter, deque

from service.contract.errors import Draining, Forbidden, TooManyRequests, Unauthorized
from service.contract.retry_after import retry_after
from service.http.telemetry.exchange import Exchange

RATE_ANSWERS = 256
"""The rate is that of the last so many answers."""


class Admission:
    """Compares keys, and counts the requests to a model that are accepted and not answered yet.

    Used on the event loop's thread. Of keys only digests are kept.

    Args:
        max_concurrent: as many requests to a model may be accepted at once.
        api_key: what a request must have, if any.
        admin_key: what a request to the server's keeper must have; without it that is `api_key`.

    Attributes:
        in_flight: how many requests are accepted now.
        full: whether one more would be too many.
        draining: whether the server is about to exit: no request is accepted any more.
    """

    def __init__(
        self, max_concurrent: int, api_key: bytes | None = None, admin_key: bytes | None = None
    ) -> None:
        self.max_concurrent = max_concurrent
        self.in_flight = 0
        self.full = max_concurrent == 0
        self.draining = False
        self._key = None if api_key is None else _digest(api_key)
        self._admin_key = None if admin_key is None else _digest(admin_key)
        self._idle = asyncio.Event()
        self._idle.set()
        self._epoch = 0
        self._running: Counter[int] = Counter()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        # When the last answers were given since there was nothing to do, and before them that moment.
        self._times: deque[float] = deque(maxlen=RATE_ANSWERS + 1)

    # -- by key -----------------------------------------------------------------------------------------

    def has_key(self, exchange: Exchange) -> bool:
        """Whether the request has the key, or needs none."""
        return self._key is None or not exchange.endpoint.keyed or _opens(exchange, self._key)

    def check_admin(self, exchange: Exchange) -> None:
        """Raises Unauthorized or Forbidden unless the request has the admin key.

        Without an admin key the API key takes its place.
        """
        right = self._admin_key or self._key
        if right is None:
            raise Forbidden("Nobody may reload: the server has neither an admin key nor an API key.")
        if _opens(exchange, right):
            return
        if self._key is not None and _opens(exchange, self._key):
            raise Forbidden
        raise Unauthorized

    # -- by places --------------------------------------------------------------------------------------

    def enter(self) -> int:
        """Gives a request a place. Returns what to give back to `leave`.

        Raises:
            Draining, TooManyRequests: there is none.
        """
        if self.draining:
            raise Draining
        if self.full:
            raise self.too_many()
        if not self.in_flight:
            self._times.clear()
            self._times.append(time.monotonic())
        self.in_flight += 1
        self.full = self.in_flight >= self.max_concurrent
        self._idle.clear()
        self._running[self._epoch] += 1
        return self._epoch

    def leave(self, epoch: int) -> None:
        """An accepted request is answered, or its client has left."""
        self.in_flight -= 1
        self.full = self.in_flight >= self.max_concurrent
        self._times.append(time.monotonic())
        if self.in_flight == 0:
            self._idle.set()
        self._running[epoch] -= 1
        if not self._running[epoch]:
            del self._running[epoch]
            for until, waiter in self._waiters:
                if not self._runs(until) and not waiter.done():
                    waiter.set_result(None)

    def too_many(self) -> TooManyRequests:
        """The error for a request for which there is no place."""
        return TooManyRequests(retry_after=self.retry_after())

    def retry_after(self) -> float:
        """Seconds until the requests that run now will have been answered, at the present rate."""
        if not self._times:
            return retry_after(self.in_flight, 0, 0)
        return retry_after(self.in_flight, len(self._times) - 1, time.monotonic() - self._times[0])

    # -- until the end ----------------------------------------------------------------------------------

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


def _digest(key: bytes) -> bytes:
    # Digests have one length, so that the time of a comparison tells nothing, not even the key's length.
    return hashlib.sha256(key).digest()


def _opens(exchange: Exchange, digest: bytes) -> bool:
    """Whether the request's `Authorization: Bearer KEY` holds the key with this digest."""
    scheme, _, key = exchange.headers.get(b"authorization", b"").partition(b" ")
    return hmac.compare_digest(_digest(key.strip()), digest) and scheme.lower() == b"bearer"
