"""The error tree: every class has its place in HTTP and the one shape."""

import json
from collections.abc import Iterator

import pytest

from service.contract import errors
from service.contract.errors import (
    HeadfirstError,
    MethodNotAllowed,
    NotReady,
    QueueFull,
    TooLarge,
    Unauthorized,
)
from service.metrics.registry import REASONS

STATUSES = {
    "InvalidRequest": 422,
    "MalformedBody": 400,
    "InvalidHost": 400,
    "UnsupportedMediaType": 415,
    "TooManyBytes": 429,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "ModelNotFound": 404,
    "MethodNotAllowed": 405,
    "ReloadRunning": 409,
    "ReloadFailed": 422,
    "TooLarge": 413,
    "Unavailable": 503,
    "QueueFull": 429,
    "TooManyRequests": 429,
    "NotReady": 503,
    "Draining": 503,
    "DeadlineExceeded": 504,
    "ClientDisconnected": 499,
    "InternalError": 500,
    "InferenceFailed": 500,
}


def tree(root: type[HeadfirstError]) -> Iterator[type[HeadfirstError]]:
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


KINDS = list(tree(HeadfirstError))


def test_statuses() -> None:
    assert {kind.__name__: kind.status for kind in KINDS} == STATUSES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_shape(kind: type[HeadfirstError]) -> None:
    error = json.loads(kind().body())
    assert list(error) == ["error"]
    assert list(error["error"]) == ["message", "type", "param", "code"]
    assert error["error"]["message"]
    assert error["error"]["type"].endswith("_error")
    assert error["error"]["code"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_drawn_in_the_docstring(kind: type[HeadfirstError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f"* {kind.__name__} " in line)
    assert str(kind.status) in line
    depth = len(kind.__mro__) - len(HeadfirstError.__mro__)
    assert line.index("*") == 2 * depth


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_reason_is_a_label(kind: type[HeadfirstError]) -> None:
    assert kind.reason is None or kind.reason in REASONS


def test_own_values_win() -> None:
    error = QueueFull("Full up.", param="inputs", code="very_full", retry_after=2.1)
    assert json.loads(error.body())["error"] == {
        "message": "Full up.",
        "type": "rate_limit_error",
        "param": "inputs",
        "code": "very_full",
    }
    assert str(error) == "Full up."
    assert error.headers() == {"retry-after": "3"}


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (59.5, "60")])
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    assert NotReady(retry_after=seconds).headers()["retry-after"] == header


def test_headers_that_a_status_must_have() -> None:
    assert HeadfirstError().headers() == {}
    assert Unauthorized().headers() == {"www-authenticate": 'Bearer realm="headfirst"'}
    assert MethodNotAllowed(allowed="GET, HEAD").headers() == {"allow": "GET, HEAD"}
    assert TooLarge().headers() == {"connection": "close"}
