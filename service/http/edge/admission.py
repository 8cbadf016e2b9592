"""Who may ask a model: whoever has the key, not while the server drains, and not too many at once."""

from service.contract.errors import Draining, TooManyRequests
from service.http.edge.keys import Key
from service.http.edge.lifecycle import Lifecycle
from service.http.telemetry.endpoints import MODEL_ENDPOINTS
from service.http.telemetry.exchange import Exchange


class Admission:
    """Decides it. Used on the event loop's thread.

    Args:
        lifecycle: counts what it admits.
        key: what a request must have, if any.
    """

    def __init__(self, lifecycle: Lifecycle, key: Key | None) -> None:
        self._lifecycle = lifecycle
        self._key = key

    @staticmethod
    def asks_model(method: str, endpoint: str) -> bool:
        """Whether such a request takes one of the places."""
        return endpoint in MODEL_ENDPOINTS and method == "POST"

    def has_key(self, exchange: Exchange) -> bool:
        """Whether the request has the key, or needs none."""
        return self._key is None or self._key.opens(exchange.headers.get(b"authorization", b""))

    @property
    def full(self) -> bool:
        """Whether `enter` would raise TooManyRequests."""
        return self._lifecycle.full and not self._lifecycle.draining

    def too_many(self) -> TooManyRequests:
        """The error for a request for which there is no place."""
        return TooManyRequests(retry_after=self._lifecycle.retry_after())

    def enter(self) -> int:
        """Gives a request a place. Returns what to give back to `leave`.

        Raises:
            Draining, TooManyRequests: there is none.
        """
        if self._lifecycle.draining:
            raise Draining
        if self._lifecycle.full:
            raise self.too_many()
        return self._lifecycle.enter()

    def leave(self, epoch: int) -> None:
        """The request is answered, or its client went away."""
        self._lifecycle.leave(epoch)
