"""The contract as a client sees it: the real server, over the network, with the tiny model."""

import concurrent.futures
import http.client
import itertools
import json
import math
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.service.conftest import ServerProcess
from tests.tiny import tiny_words

StartServer = Callable[..., AbstractContextManager[ServerProcess]]
WORDS = tiny_words()[2:]


def predict(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/predict", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def score(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/score", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def assert_same(one: Any, other: Any) -> None:
    """Equal, numbers up to 1e-4."""
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-3 if abs(one) > 100 else 0, abs=1e-4)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def sentences(count: int, seed: int, longest: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, longest))) for _ in range(count)]


# -- answers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mixed() -> list[str]:
    """64 texts of mixed lengths."""
    return sentences(64, seed=1)


def test_many_inputs_equal_single_requests(client: httpx.Client, mixed: list[str]) -> None:
    together = predict(client, inputs=mixed, k=5)
    assert_same(together, [predict(client, inputs=text, k=5)[0] for text in mixed])
    scored = score(client, inputs=mixed)
    assert_same(scored, [score(client, inputs=text)[0] for text in mixed])


@pytest.fixture
def fifty_clients(server: ServerProcess) -> Iterator[list[int]]:
    """Fifty others who ask all the time; the statuses that they get."""
    done = threading.Event()
    statuses: list[int] = []
    requests = [("/v1/predict", json.dumps({"inputs": text, "k": 7})) for text in sentences(20, seed=100)]
    requests += [("/v1/score", json.dumps({"inputs": [text, text[:9]]})) for text in sentences(20, seed=101)]

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        for path, body in itertools.cycle(requests[first:] + requests[:first]):
            connection.request("POST", path, body)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            if done.is_set():
                connection.close()
                return

    with concurrent.futures.ThreadPoolExecutor(50) as others:
        running = [others.submit(ask, number % len(requests)) for number in range(50)]
        yield statuses
        done.set()
        for future in running:
            future.result()


def test_the_same_answers_among_fifty_clients(
    client: httpx.Client, fifty_clients: list[int], mixed: list[str]
) -> None:
    together = predict(client, inputs=mixed, k=5)
    scored = score(client, inputs=mixed)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert_same(together, list(pool.map(lambda text: predict(client, inputs=text, k=5)[0], mixed)))
        assert_same(scored, list(pool.map(lambda text: score(client, inputs=text)[0], mixed)))
    assert len(fifty_clients) >= 50
    assert set(fifty_clients) == {200}


def test_words_add_up(client: httpx.Client) -> None:
    for result in score(client, inputs=[*sentences(20, seed=3), "unheardof words"]):
        assert result["logprob"] == pytest.approx(sum(word["logprob"] for word in result["words"]), abs=1e-4)
        assert result["word_count"] == len(result["words"])
        assert result["unknown_words"] == sum(not word["known"] for word in result["words"])
        assert result["perplexity"] == pytest.approx(
            math.exp(-result["logprob"] / result["word_count"]), rel=1e-4
        )


def test_score_agrees_with_predict_word_by_word(client: httpx.Client) -> None:
    words = sentences(1, seed=4)[0].split()[:12]
    (scored,) = score(client, inputs=" ".join(words))
    contexts = [" ".join(words[:count]) for count in range(len(words) + 1)]
    for word, predicted in zip(
        scored["words"], predict(client, inputs=contexts, k=len(WORDS) + 2), strict=True
    ):
        logprobs = {entry["word"]: entry["logprob"] for entry in predicted["words"]}
        assert len(logprobs) == len(WORDS) + 1
        assert logprobs[word["word"]] == pytest.approx(word["logprob"], abs=1e-4)


def test_context_is_what_comes_before(client: httpx.Client) -> None:
    (whole,) = score(client, inputs="Thank you very much .")
    (rest,) = score(client, inputs="very much .", context="Thank you")
    assert_same(rest["words"], whole["words"][2:])


def test_predictions_are_sorted_and_a_prefix_keeps_their_numbers(client: httpx.Client) -> None:
    (everything,) = predict(client, inputs="Thank you", k=280)
    logprobs = [word["logprob"] for word in everything["words"]]
    assert logprobs == sorted(logprobs, reverse=True)
    (some,) = predict(client, inputs="Thank you", k=280, prefix="ba")
    assert_same(some["words"], [word for word in everything["words"] if word["word"].startswith("ba")])


def test_a_text_longer_than_a_batch(client: httpx.Client) -> None:
    text = " ".join(WORDS * 40)
    (result,) = score(client, inputs=text)
    assert result["word_count"] == len(result["words"]) > 10_000
    (short,) = predict(client, inputs=text)
    assert 256 <= short["context_words"] <= 512


# -- bad input ----------------------------------------------------------------------------------------------

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


def raw_exchange(url: str, *pieces: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


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


# -- the key ------------------------------------------------------------------------------------------------


def test_key(start_server: StartServer) -> None:
    with start_server(HEADFIRST_API_KEY="topsecret") as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/v1/predict", json={"inputs": "a"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        client.headers["authorization"] = "Bearer topsecret"
        assert client.post("/v1/predict", json={"inputs": "a"}).status_code == 200
        del client.headers["authorization"]
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
    assert "topsecret" not in json.dumps(server.lines)


# -- metrics ------------------------------------------------------------------------------------------------


def samples(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    page = client.get("/metrics").text
    return {
        (sample.name.removeprefix("headfirst_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_metrics_equal_what_was_sent(start_server: StartServer) -> None:
    with start_server() as server, httpx.Client(base_url=server.url) as client:
        before = samples(client)
        for _ in range(40):
            client.post("/v1/predict", json={"inputs": ["Thank you", "very"]})
        for _ in range(30):
            client.post("/v1/score", json={"inputs": "Thank you very much"})
        for _ in range(20):
            client.post("/v1/predict", json={"inputs": "a", "k": 0})
        for _ in range(10):
            client.get("/nothing")
        after = samples(client)

    assert before.keys() == after.keys()

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before[key]

    assert grown("requests_total", endpoint="/v1/predict", status="200") == 40
    assert grown("requests_total", endpoint="/v1/score", status="200") == 30
    assert grown("requests_total", endpoint="/v1/predict", status="422") == 20
    assert grown("requests_total", endpoint="other", status="404") == 10
    assert grown("requests_total", endpoint="/metrics", status="200") == 1
    assert grown("request_duration_seconds_count", endpoint="/v1/predict") == 60
    assert grown("request_duration_seconds_count", endpoint="/v1/score") == 30
    assert grown("rejected_total", reason="invalid") == 20
    assert grown("queue_duration_seconds_count") == 110
    assert grown("cluster_rows_total") == 80
    requests = {key: value for key, value in after.items() if key[0] == "requests_total"}
    assert sum(requests.values()) - sum(before[key] for key in requests) == 101
    assert after["queue_depth", ()] == 0
    # The page itself is being asked for.
    assert after["requests_in_progress", ()] == 1
    assert after["engine_ready", ()] == 1
    (model,) = [dict(labels) for name, labels in after if name == "model_info"]
    assert (model["model"], model["vocabulary_size"]) == ("tiny", "280")
