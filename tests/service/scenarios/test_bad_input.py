"""Bad input to the real server: each gets its status and body, and the next request its answer."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http import WORDS, predict, raw_exchange, score
from tests.support.server_process import ServerProcess

TEXT = "Thank you"


BAD_BODIES: list[tuple[str, bytes, int, str | None]] = [
    ("not JSON", b"Thank you", 400, None),
    ("empty", b"", 400, None),
    ("half", b'{"inputs": "a', 400, None),
    ("NaN", b'{"inputs": "a", "k": NaN}', 400, None),
    ("not UTF-8", b'{"inputs": "\xff"}', 400, None),
    ("UTF-16", '{"inputs": "a"}'.encode("utf-16"), 400, None),
    ("deep list", b"[" * 500_000, 400, None),
    ("deep object", b'{"a":' * 100_000, 400, None),
    ("null", b"null", 422, None),
    ("no inputs", b"{}", 422, "inputs"),
    ("wrong inputs", b'{"inputs": 5}', 422, "inputs"),
    ("wrong input", b'{"inputs": ["a", "b", "c", 5]}', 422, "inputs[3]"),
    ("empty list", b'{"inputs": []}', 422, "inputs"),
    ("too many inputs", json.dumps({"inputs": ["a"] * 1025}).encode(), 422, "inputs"),
    ("unknown field", b'{"inputs": "a", "temperature": 1}', 422, "temperature"),
    ("k a string", b'{"inputs": "a", "k": "5"}', 422, "k"),
    ("k a boolean", b'{"inputs": "a", "k": true}', 422, "k"),
    ("k a float", b'{"inputs": "a", "k": 5.0}', 422, "k"),
    ("k = 0", b'{"inputs": "a", "k": 0}', 422, "k"),
    ("k over --max-k", b'{"inputs": "a", "k": 1001}', 422, "k"),
    ("k huge", b'{"inputs": "a", "k": 1' + b"0" * 4000 + b"}", 422, "k"),
    ("lone surrogate", b'{"inputs": ["a", "\\ud800"]}', 422, "inputs[1]"),
    ("lone surrogate in prefix", b'{"inputs": "a", "prefix": "\\udc00"}', 422, "prefix"),
    ("long prefix", json.dumps({"inputs": "a", "prefix": "a" * 201}).encode(), 422, "prefix"),
    ("lone surrogate in exclude", b'{"inputs": "a", "exclude": ["b", "\\udc00"]}', 422, "exclude[1]"),
    ("too many excluded", json.dumps({"inputs": "a", "exclude": ["a"] * 1001}).encode(), 422, "exclude"),
    ("long excluded", json.dumps({"inputs": "a", "exclude": ["a" * 201]}).encode(), 422, "exclude[0]"),
    ("excluded a string", b'{"inputs": "a", "exclude": "b"}', 422, "exclude"),
    ("case a number", b'{"inputs": "a", "ignore_case": 1}', 422, "ignore_case"),
    ("marks null", b'{"inputs": "a", "words_only": null}', 422, "words_only"),
    ("too many characters", json.dumps({"inputs": "a" * 1_000_001}).encode(), 422, "inputs"),
    ("too many words", json.dumps({"inputs": ["a", "a " * 20_001]}).encode(), 422, "inputs[1]"),
    ("a million words", json.dumps({"inputs": "a " * 950_000}).encode(), 422, "inputs"),
    ("10 MB", b" " * 10_000_000, 413, None),
    ("unknown model", b'{"inputs": "a", "model": "gpt"}', 404, "model"),
    ("time out of range", b'{"inputs": "a", "timeout_ms": 0}', 422, "timeout_ms"),
]


@pytest.mark.parametrize(
    ("body", "status", "param"), [pytest.param(*row[1:], id=row[0]) for row in BAD_BODIES]
)
def test_bad_input(client: httpx.Client, body: bytes, status: int, param: str | None) -> None:
    response = client.post("/v1/predict", content=body, headers={"x-request-id": "bad"})
    assert response.status_code == status
    assert response.headers["x-request-id"] == "bad"
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["param"] == param
    assert len(predict(client, inputs=TEXT, k=3)[0]["words"]) == 3


def test_nul_is_white_space(client: httpx.Client) -> None:
    (result,) = score(client, inputs="Thank\x00you")
    assert [word["word"] for word in result["words"]] == ["Thank", "you", "</s>"]


def test_a_body_in_chunks_is_counted(client: httpx.Client) -> None:
    response = client.post("/v1/predict", content=iter([b" " * 100_000] * 100))
    assert response.status_code == 413
    assert client.get("/health").status_code == 200


def test_nothing_to_score(client: httpx.Client) -> None:
    response = client.post("/v1/score", json={"inputs": ["a", ""], "end_of_sentence": False})
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "inputs[1]"


def test_a_deadline_that_cannot_be_kept(client: httpx.Client) -> None:
    body = {"inputs": [" ".join(WORDS * 60)] * 10, "timeout_ms": 1}
    response = client.post("/v1/score", json=body)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    assert client.get("/health").status_code == 200


def test_more_words_than_the_queue_can_hold(client: httpx.Client) -> None:
    response = client.post("/v1/score", json={"inputs": ["a " * 19_000] * 20})
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "inputs"


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing", "/v1/predict/", "/%00", "/..%2f..%2fetc"])
def test_unknown_paths(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/predict"), ("PUT", "/v1/score"), ("DELETE", "/v1/models"), ("POST", "/metrics")],
)
def test_wrong_methods(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert response.headers["allow"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/v1/models", "/v1/models/{}", "/v2", "/v2/models/{}/versions/1", "/"]
)
def test_what_answers_get_answers_head(client: httpx.Client, path: str) -> None:
    path = path.format(client.get("/v1/models").json()["data"][0]["id"])
    got, headed = client.get(path), client.head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # which counts the first of the two
        assert headed.headers["content-length"] == got.headers["content-length"]
    refused = client.options(path)
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "pieces", [(b"hello\r\n\r\n",), (b"GET / HTTP/1.1\r\nx: ", b"y" * 200_000)], ids=["no HTTP", "large head"]
)
def test_what_is_no_http(server: ServerProcess, client: httpx.Client, pieces: tuple[bytes, ...]) -> None:
    head, _, body = raw_exchange(server.url, *pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: " in head
    assert json.loads(body)["error"]["code"] == "invalid_http"
    assert client.get("/health").status_code == 200


json_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.lists(st.text(max_size=9), max_size=3)
)


objects = st.dictionaries(
    st.sampled_from(
        ["inputs", "inputs", "k", "prefix", "model", "timeout_ms", "context", "per_word", "end_of_sentence"]
    ),
    json_values,
)


bodies = objects.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)


@given(path=st.sampled_from(["/v1/predict", "/v1/score"]), body=bodies)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_is_our_fault(client: httpx.Client, path: str, body: bytes) -> None:
    response = client.post(path, content=body)
    assert response.status_code in (200, 400, 404, 422, 504)
    assert response.headers["x-request-id"]
    # A tiny deadline is the one 5xx that a body may ask for.
    assert response.status_code != 504 or b"timeout_ms" in body
    assert set(response.json()) == ({"results"} if response.status_code == 200 else {"error"})
