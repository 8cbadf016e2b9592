"""The common part of the Python clients: requests, when they are sent again, and errors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import httpx
from pydantic import ValidationError

from service.client.retries import RETRIED, Retries
from service.contract.answers import PredictResult, ScoreResult
from service.contract.model_card import ModelCard
from service.http.schemas.native import (
    ErrorAnswer,
    ModelList,
    PredictAnswer,
    ScoreAnswer,
)

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Transport = TypeVar("Transport", httpx.BaseTransport, httpx.AsyncBaseTransport)
Texts = str | Sequence[str]

DEFAULT_URL = "http://127.0.0.1:8080"
SESSION_HEADER = "x-session-id"
"""See `deploy/README.md`: Envoy and Ray hash it."""

# A request changes nothing on the server, so one that broke off is sent again. One that timed out is not: the
# server is busy with it.
_RETRIED_FAILURES = (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError)

Region = tuple[int, int]
Regions = Sequence[Region] | Sequence[Sequence[Region]]
"""For one text the start and end of each region, for several a list of these for each."""


class ClientError(Exception):
    """Base of all errors of a client."""


class ConnectionFailed(ClientError):  # noqa: N818 -- what happened
    """There was no answer: no server, or none in time. The cause is httpx's own exception."""


class ServerError(ClientError):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
        message: for a person.
        type: the family of errors.
        code: the precise reason.
        param: the field at fault; of a list in several requests, the index is that within one of them.
        request_id: under which the server logged it.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.request_id = response.headers.get("x-request-id")
        self.message, self.type, self.code = response.reason_phrase, "unknown", "unknown"
        self.param: str | None = None
        try:
            error = ErrorAnswer.model_validate_json(response.content).error
        except ValidationError:
            pass  # A proxy's answer, of which only the status is known.
        else:
            self.message, self.type, self.code, self.param = (
                error.message,
                error.type,
                error.code,
                error.param,
            )
        super().__init__(f"{self.status}: {self.message}")


class ClientBase(ABC, Generic[Http, Transport]):
    """Base of both clients: settings, requests, and when they are sent again. See `Client`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        model: str | None = None,
        mode: Literal["exact", "fast"] | None = None,
        session: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        batch_size: int = 256,
        transport: Transport | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        headers = key_headers(api_key) | session_headers(session)
        self._http: Http = self._open(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._shared = {
            name: value for name, value in (("model", model), ("mode", mode)) if value is not None
        }
        self._batch_size = batch_size
        self._retries = retries or Retries()

    @abstractmethod
    def _open(self, **settings: Any) -> Http:
        """httpx's client."""

    def _requests(
        self,
        path: str,
        inputs: Texts,
        session: str | None,
        each: Mapping[str, Sequence[Any] | None] | None = None,
        **fields: Any,
    ) -> Iterator[httpx.Request]:
        """The requests about `inputs`. `fields` are those of each request, `each` has lists as long as
        `inputs`, of which each request gets its part; fields that are None are left out.

        Raises:
            ValueError: a list of `each` has another length.
        """
        # What is no text is the server's to refuse, as in every other way to it.
        several = isinstance(inputs, Iterable) and not isinstance(inputs, str | Mapping)
        texts = list(inputs) if several else [inputs]
        parts = {name: list(values) for name, values in (each or {}).items() if values is not None}
        for name, values in parts.items():
            if len(values) != len(texts):
                raise ValueError(f"{name} must be as many as the inputs: {len(texts)}, not {len(values)}")
        given = {name: value for name, value in fields.items() if value is not None}
        headers = session_headers(session)
        for start in range(0, len(texts), self._batch_size):
            part = slice(start, start + self._batch_size)
            own = {name: values[part] for name, values in parts.items()}
            body = {"inputs": texts[part], **self._shared, **given, **own}
            yield self._http.build_request("POST", path, json=body, headers=headers)

    def _wait(self, attempt: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next attempt; None if `outcome` is final."""
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in RETRIED:
                return None
            return self._retries.wait(attempt, outcome.headers.get("retry-after"))
        return self._retries.wait(attempt) if isinstance(outcome, _RETRIED_FAILURES) else None

    def _content(self, outcome: httpx.Response | httpx.TransportError) -> bytes:
        if not isinstance(outcome, httpx.Response):
            reason = str(outcome) or type(outcome).__name__
            raise ConnectionFailed(f"{self._http.base_url}: {reason}") from outcome
        if not outcome.is_success:
            raise ServerError(outcome)
        return outcome.content


def scoring(
    inputs: Texts,
    context: Texts,
    regions: Regions | None,
    group: Literal["token", "space"],
    unknown: Literal["spelled", "class"] | None,
    unknown_penalty: float | None,
    lines: bool,
    ignore_case: bool,
) -> dict[str, Any]:
    """Fields of /v1/score for `ClientBase._requests`; see `Client.score`."""
    one = isinstance(inputs, str)
    return {
        "each": {
            "context": None if isinstance(context, str) else context,
            "regions": [regions] if one and regions is not None else regions,
        },
        "context": context if isinstance(context, str) else None,
        "group": None if group == "token" else group,
        "unknown": unknown,
        "unknown_penalty": unknown_penalty,
        "lines": lines or None,
        "ignore_case": ignore_case or None,
    }


def predicted(content: bytes) -> list[PredictResult]:
    """The results of an answer of /v1/predict."""
    return PredictAnswer.model_validate_json(content).results


def scored(content: bytes) -> list[ScoreResult]:
    """The results of an answer of /v1/score."""
    return ScoreAnswer.model_validate_json(content).results


def listed(content: bytes) -> list[ModelCard]:
    """The models of an answer of /v1/models."""
    return ModelList.model_validate_json(content).data


def key_headers(api_key: str | None) -> dict[str, str]:
    """The header with the key; empty without one."""
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


def session_headers(session: str | None) -> dict[str, str]:
    """The header by which a proxy before several replicas sends all requests of a session to one of them.

    Raises:
        ValueError: it cannot stand in a header.
    """
    if session is None:
        return {}
    if not session or not all("!" <= character <= "~" for character in session):
        raise ValueError("session must be one or more printable ASCII characters without spaces")
    return {SESSION_HEADER: session}
