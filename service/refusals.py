"""Requests that are too many, refused before anything is made for them and their body is read.

With more requests than can be answered, this is what most of them need. What refusing takes is missing for
those that are answered, and the answer is of use only at once.
"""

from starlette.types import Scope

from service.endpoints import MODEL_ENDPOINTS, endpoint_of
from service.errors import TooManyRequests
from service.keys import Key
from service.lifecycle import Lifecycle
from service.recorder import Recorder


class Refusals:
    """Says of a request whose head is there whether it is refused at once. Used on the event loop's thread.

    It refuses what `service.middleware.Guard` would for the same reason; all other reasons are left to that.

    Args:
        lifecycle: knows how many requests run.
        recorder: is told of each request that is refused.
        key: what a request must have, if any; one without it is refused for that, hence not here.
    """

    def __init__(self, lifecycle: Lifecycle, recorder: Recorder, key: Key | None) -> None:
        self._lifecycle = lifecycle
        self._recorder = recorder
        self._key = key

    def refuse(self, scope: Scope) -> tuple[TooManyRequests, str] | None:
        """The error to answer a request with, and its id; None for one that goes its way."""
        lifecycle = self._lifecycle
        if not lifecycle.full or lifecycle.draining or scope["method"] != "POST":
            return None
        if endpoint_of(scope["path"]) not in MODEL_ENDPOINTS:
            return None
        exchange = self._recorder.begin(scope)
        if self._key is not None and not self._key.opens(exchange.headers.get(b"authorization", b"")):
            return None
        error = TooManyRequests(retry_after=lifecycle.retry_after())
        exchange.status, exchange.bytes_out = error.status, len(error.body())
        if exchange.trace is not None:
            exchange.trace.error = error.code
        if error.reason is not None:
            self._recorder.rejected(error.reason)
        self._recorder.end(scope, exchange)
        return error, exchange.id
