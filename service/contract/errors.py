"""Everything that can go wrong with a request, each with its place in HTTP.

* HeadfirstError
  * InvalidRequest            422  a value is out of range or of the wrong type; `param` names it
    * MalformedBody           400  the body is not JSON at all
    * InvalidHost             400  the request names no host, several, or one that is not ours
  * Unauthorized              401  the key is missing or wrong
  * Forbidden                 403  the key may not do this, or no key may
  * NotFound                  404  no such path
    * ModelNotFound           404  no such model
  * MethodNotAllowed          405  the path exists, the method doesn't
  * ReloadRunning             409  models are being loaded again already
  * ReloadFailed              422  what is to be loaded again cannot be served
  * TooLarge                  413  the body has too many bytes
  * UnsupportedMediaType      415  another site's page sends what is not JSON
  * Unavailable               503  try again later (`retry_after`)
    * QueueFull               429  the queue is full
      * TooManyRequests       429  too many requests run at once
      * TooManyBytes          429  too many bytes of bodies wait to be complete
    * NotReady                503  the model is still warming up, or the engine is dead
    * Draining                503  the server is about to exit
  * DeadlineExceeded          504  the request's time ran out before its answer was there
  * ClientDisconnected        499  the client has left; never sent, only counted and logged
  * InternalError             500  a fault of ours
    * InferenceFailed         500  the model failed on this input

On the wire every error has one shape: `{"error": {"message", "type", "param", "code"}}`. `type` is the family
(for programs that treat all client faults alike), `code` the precise reason (for programs that react to one).
"""

# ruff: noqa: N818 -- the names are what HTTP calls these answers

import json
import math
from typing import ClassVar


class HeadfirstError(Exception):
    """Base of all: a request that gets an error for an answer.

    Args:
        message: for a person; one sentence that says what to change. Of a client's text it holds
            a single word at most.
        param: the field at fault as a path, e.g. `k` or `inputs[3]`; None where no field is.
        code: a more precise reason than the class's own.
        retry_after: seconds after which trying again makes sense; the class's own where None.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    reason: ClassVar[str | None] = None
    """Label in `headfirst_rejected_total` under which HTTP counts a refused request; None: it doesn't.

    The engine counts `expired` and `cancelled`, for each input that it drops."""
    default_message: ClassVar[str] = "The server failed to answer this request."
    code: str = "internal_error"
    param: str | None = None
    retry_after: float | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = self.default_message if message is None else message
        super().__init__(self.message)
        if param is not None:
            self.param = param
        if code is not None:
            self.code = code
        if retry_after is not None:
            self.retry_after = retry_after

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """The answer's body: the one error shape."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def body(self) -> bytes:
        """The answer's body as ASCII JSON."""
        return json.dumps(self.as_dict(), separators=(",", ":")).encode()

    def headers(self) -> dict[str, str]:
        """This error's headers; `Retry-After` is in whole seconds, at least 1 (RFC 9110, 10.2.3)."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after)))}


class InvalidRequest(HeadfirstError):
    """A value of the request is of the wrong type, out of range or unknown."""

    status = 422
    type = "invalid_request_error"
    default_message = "The request has an invalid value."
    code = "invalid_value"
    reason = "invalid"


class MalformedBody(InvalidRequest):
    """The body is not one JSON document in UTF-8."""

    status = 400
    default_message = "The body is not valid JSON."
    code = "invalid_json"


class InvalidHost(InvalidRequest):
    """`Host` is missing, malformed, there several times, or not allowed."""

    status = 400
    default_message = "The Host header is malformed."
    code = "invalid_host"


class Unauthorized(HeadfirstError):
    """The key is missing or wrong."""

    status = 401
    type = "authentication_error"
    default_message = "A valid key is needed: send it as 'Authorization: Bearer KEY'."
    code = "invalid_api_key"
    reason = "unauthorized"

    def headers(self) -> dict[str, str]:
        """A 401 must name the scheme (RFC 9110, 11.6.1)."""
        return super().headers() | {"www-authenticate": 'Bearer realm="headfirst"'}


class Forbidden(HeadfirstError):
    """The key is one of ours, but not for this; or the server was started without one that is."""

    status = 403
    type = "permission_error"
    default_message = "This needs the server's admin key."
    code = "forbidden"


class NotFound(HeadfirstError):
    """No such path."""

    status = 404
    type = "not_found_error"
    default_message = "There is nothing at this path."
    code = "not_found"


class ModelNotFound(NotFound):
    """The request asks for a model that is not served here."""

    default_message = "This model is not served here; GET /v1/models lists what is."
    code = "model_not_found"
    reason = "invalid"
    param = "model"


class MethodNotAllowed(HeadfirstError):
    """The path exists, the method doesn't.

    Args:
        allowed: the methods that do, for the `Allow` header that a 405 must carry (RFC 9110, 15.5.6).
    """

    status = 405
    type = "invalid_request_error"
    default_message = "This path does not answer this method."
    code = "method_not_allowed"

    def __init__(self, message: str | None = None, *, allowed: str = "") -> None:
        super().__init__(message)
        self.allowed = allowed

    def headers(self) -> dict[str, str]:
        """`Allow` with the methods that this path answers."""
        return super().headers() | {"allow": self.allowed}


class ReloadRunning(HeadfirstError):
    """Models are being loaded again already."""

    status = 409
    type = "conflict_error"
    default_message = "A reload is running; ask again when it has ended."
    code = "reload_running"
    retry_after = 1.0


class ReloadFailed(HeadfirstError):
    """What is to be loaded again cannot be served; what is served goes on unchanged."""

    status = 422
    type = "invalid_request_error"
    default_message = "The model could not be loaded again."
    code = "reload_failed"
    param = "model"


class TooLarge(HeadfirstError):
    """The body has more bytes than the server accepts."""

    status = 413
    type = "invalid_request_error"
    default_message = "The body is too large."
    code = "body_too_large"
    reason = "too_large"

    @classmethod
    def of_body(cls, most: int) -> "TooLarge":
        """For a body of more bytes than `most`."""
        return cls(f"The body has more than {most} bytes, which is what this server accepts.")

    def headers(self) -> dict[str, str]:
        """The connection ends with this answer: what is left of the body is not read."""
        return super().headers() | {"connection": "close"}


class UnsupportedMediaType(HeadfirstError):
    """A page of another origin sends a body that it does not call JSON, which browsers let every page do."""

    status = 415
    type = "invalid_request_error"
    default_message = "A request from another origin must have the Content-Type application/json."
    code = "unsupported_media_type"
    reason = "invalid"


class Unavailable(HeadfirstError):
    """The server cannot take this request now; another moment or another replica can."""

    status = 503
    type = "unavailable_error"
    default_message = "The server cannot take this request now."
    code = "unavailable"
    retry_after = 1.0


class QueueFull(Unavailable):
    """The queue has no room for all inputs of the request; none was taken."""

    status = 429
    type = "rate_limit_error"
    default_message = "The queue is full."
    code = "queue_full"
    reason = "queue_full"


class TooManyRequests(QueueFull):
    """As many requests as the server is set to run at once are running."""

    default_message = "Too many requests are running."
    code = "too_many_requests"


class TooManyBytes(QueueFull):
    """The bodies that are not complete yet have as many bytes as the server is set to hold."""

    default_message = "Too many bytes of bodies wait to be complete."
    code = "too_many_bytes"

    def headers(self) -> dict[str, str]:
        """The connection ends with this answer: what is left of the body is not read."""
        return super().headers() | {"connection": "close"}


class NotReady(Unavailable):
    """The model is still warming up, or its engine is dead."""

    default_message = "The model is not ready yet."
    code = "not_ready"
    reason = "not_ready"


class Draining(Unavailable):
    """The server finishes what it accepted and then exits."""

    default_message = "The server is shutting down."
    code = "draining"
    reason = "draining"


class DeadlineExceeded(HeadfirstError):
    """The request's time ran out before its answer was there."""

    status = 504
    type = "timeout_error"
    default_message = "The request's deadline passed before its answer was ready."
    code = "deadline_exceeded"


class ClientDisconnected(HeadfirstError):
    """The client closed the connection before its answer; 499 is what access logs commonly call that."""

    status = 499
    type = "client_error"
    default_message = "The client closed the connection."
    code = "client_disconnected"


class InternalError(HeadfirstError):
    """A fault of ours. Its cause is in the log under the request's id, never in the answer."""


class InferenceFailed(InternalError):
    """The model failed on this input."""

    default_message = "The model failed on this input."
    code = "inference_failed"
