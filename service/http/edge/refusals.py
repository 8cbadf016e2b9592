"""Requests that are too many, refused before anything is made for them and their body is read.

With more requests than can be answered, this is what most of them need. What refusing takes is missing for
those that are answered, and the answer is of use only at once.
"""

from starlette.types import Scope

from service.contract.errors import HeadfirstError
from service.http.edge.admission import Admission
from service.http.edge.error_response import ErrorResponse
from service.http.telemetry.endpoints import OTHER, Endpoints
from service.http.telemetry.recorder import Recorder


class Refusals:
    """Says of a request whose head is there whether it is refused at once. Used on the event loop's thread.

    It refuses what `service.http.edge.middleware.Guard` would for the same reason; all other reasons are left
    to that, a missing key among them.

    Args:
        admission: decides; to be asked first whether it is `full`, which most often it is not.
        endpoints: which row a path has.
        recorder: is told of each request that is refused.
    """

    def __init__(self, admission: Admission, endpoints: Endpoints, recorder: Recorder) -> None:
        self.admission = admission
        self._endpoints = endpoints
        self._recorder = recorder

    def refuse(self, scope: Scope) -> tuple[ErrorResponse, str] | None:
        """The answer to a request, and its id; None for one that goes its way."""
        admission = self.admission
        asks_model = self._endpoints[scope["path"]].asks_model and scope["method"] == "POST"
        if not asks_model or not admission.full or admission.draining:
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

    def not_http(self, scope: Scope, error: HeadfirstError) -> tuple[ErrorResponse, str]:
        """The answer to bytes that are not a request, and its id; `scope` is what is known of them."""
        exchange = self._recorder.begin(scope)
        exchange.endpoint = OTHER
        response = ErrorResponse(error)
        exchange.status, exchange.bytes_out, exchange.reason = error.status, len(response.body), error.message
        self._recorder.failed(exchange, error)
        self._recorder.end(scope, exchange)
        return response, exchange.id
