"""Requests that are too many, refused before anything is made for them and their body is read.

With more requests than can be answered, this is what most of them need. What refusing takes is missing for
those that are answered, and the answer is of use only at once.
"""

from starlette.types import Scope

from service.http.edge.admission import Admission
from service.http.edge.error_response import ErrorResponse
from service.http.telemetry.endpoints import endpoint_of
from service.http.telemetry.recorder import Recorder


class Refusals:
    """Says of a request whose head is there whether it is refused at once. Used on the event loop's thread.

    It refuses what `service.http.edge.middleware.Guard` would for the same reason; all other reasons are left
    to that, a missing key among them.

    Args:
        admission: decides.
        recorder: is told of each request that is refused.
    """

    def __init__(self, admission: Admission, recorder: Recorder) -> None:
        self._admission = admission
        self._recorder = recorder

    def refuse(self, scope: Scope) -> tuple[ErrorResponse, str] | None:
        """The answer to a request, and its id; None for one that goes its way."""
        admission = self._admission
        if not admission.full or not admission.asks_model(scope["method"], endpoint_of(scope["path"])):
            return None
        exchange = self._recorder.begin(scope)
        if not admission.has_key(exchange):
            return None
        error = admission.too_many()
        response = ErrorResponse(error)
        exchange.status, exchange.bytes_out = response.status, len(response.body)
        self._recorder.failed(exchange, error)
        self._recorder.end(scope, exchange)
        return response, exchange.id
