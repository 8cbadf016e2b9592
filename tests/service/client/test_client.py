"""The Python client against the app itself, and against servers that misbehave."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.client import AsyncClient, Client, ConnectionFailed, Retries, ServerError
from tests.support.server_process import ServerProcess

AT_ONCE = Retries(first_wait=0)
TEXTS = ["the cat", "", "of the zzz"]

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def url(bundle_path: Path) -> Iterator[str]:
    server = ServerProcess("--model", str(bundle_path), HEADFIRST_API_KEY="secret", HEADFIRST_MAX_INPUTS="2")
    try:
        server.wait_ready()
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, api_key="secret", batch_size=2) as client:
        yield client


def test_predictions_are_those_of_the_contract(client: Client, url: str) -> None:
    found = client.predict(TEXTS, k=3)
    with httpx.Client(base_url=url, headers={"authorization": "Bearer secret"}) as http:
        answers = [http.post("/v1/predict", json={"inputs": text, "k": 3}).json() for text in TEXTS]
    assert [result.model_dump(exclude_none=True) for result in found] == [
        result for answer in answers for result in answer["results"]
    ]


def test_a_list_longer_than_a_batch_keeps_its_order(client: Client) -> None:
    together = client.score(TEXTS, context="once upon")
    apart = [client.score(text, context="once upon")[0] for text in TEXTS]
    assert [one.logprob for one in together] == pytest.approx([one.logprob for one in apart], abs=1e-5)
    assert [[word.word for word in one.words] for one in together] == [
        [word.word for word in one.words] for one in apart
    ]


def test_options_reach_the_server(client: Client) -> None:
    (result,) = client.score("the cat", end_of_sentence=False, per_word=False)
    assert result.word_count == 2
    assert result.words == []
    (predicted,) = client.predict("the", prefix="c", k=5)
    assert all(word.word.startswith("c") for word in predicted.words)
    (predicted,) = client.predict("the", prefix="(BA", ignore_case=True, k=5)
    assert [word.completion for word in predicted.words] == [f"({word.word}" for word in predicted.words]
    assert len(predicted.words) == 4
    (predicted,) = client.predict("the", k=270)
    words = [word for word in predicted.words if word.word[0].isalnum()]
    (left,) = client.predict("the", k=100, words_only=True, exclude=(words[0].word, words[2].word))
    assert [word.word for word in left.words] == [words[1].word, *(word.word for word in words[3:102])]


def test_an_empty_list_has_no_results(client: Client) -> None:
    assert client.predict([]) == []
    assert client.score([]) == []


def test_models(client: Client, bundle: Bundle) -> None:
    (model,) = client.models()
    assert model.vocabulary_size == bundle.config.vocabulary_size


def test_an_error_has_the_fields_of_its_shape(client: Client) -> None:
    with pytest.raises(ServerError) as caught:
        client.predict("the", k=0)
    error = caught.value
    assert (error.status, error.param, error.code) == (422, "k", "invalid_value")
    assert error.request_id
    assert str(error) == f"422: {error.message}"


def test_a_wrong_key_is_refused(url: str) -> None:
    with Client(url, api_key="wrong") as client, pytest.raises(ServerError) as caught:
        client.predict("the")
    assert caught.value.status == 401


def test_the_async_client_answers_the_same(url: str, client: Client) -> None:
    async def ask() -> None:
        async with AsyncClient(url, api_key="secret", batch_size=2) as other:
            scored, predicted, models = await asyncio.gather(
                other.score(TEXTS), other.predict(TEXTS, k=3), other.models()
            )
        assert [one.logprob for one in scored] == pytest.approx(
            [one.logprob for one in client.score(TEXTS)], abs=1e-5
        )
        assert [one.words[0].word for one in predicted] == [
            one.words[0].word for one in client.predict(TEXTS, k=3)
        ]
        assert models == client.models()

    asyncio.run(ask())


# -- servers that misbehave ----------------------------------------------------------------------------


class Script:
    """Answers requests from a list, the last entry again and again, and counts them."""

    def __init__(self, *outcomes: httpx.Response | Exception) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def client(self, retries: Retries = AT_ONCE) -> Client:
        return Client(retries=retries, transport=httpx.MockTransport(self), mode="fast", model="m")


def full(retry_after: str = "0") -> httpx.Response:
    error = {"message": "Full.", "type": "rate_limit_error", "param": None, "code": "queue_full"}
    return httpx.Response(429, headers={"retry-after": retry_after}, json={"error": error})


def answered() -> httpx.Response:
    result = {"words": [{"word": "a", "logprob": -1.0}], "context_words": 1, "unknown_words": 0}
    return httpx.Response(200, json={"results": [result]})


def test_what_is_refused_for_now_is_asked_again() -> None:
    script = Script(full(), httpx.Response(503, text="draining"), httpx.ConnectError("refused"), answered())
    (result,) = script.client().predict("x")
    assert result.words[0].word == "a"
    assert len(script.requests) == 4
    assert len({request.content for request in script.requests}) == 1
    assert b'"model":"m"' in script.requests[0].content
    assert b'"mode":"fast"' in script.requests[0].content


def test_a_session_is_named_by_the_client_or_the_call() -> None:
    script = Script(answered())
    with Client(transport=httpx.MockTransport(script), session="ann") as client:
        client.predict("x")
        client.predict("x", session="bob")
        client.predict("x")
    script.client().predict("x")
    assert [request.headers.get("x-session-id") for request in script.requests] == ["ann", "bob", "ann", None]


def test_a_session_is_sent_with_every_batch_and_by_the_async_client() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        figures = {"logprob": -1.0, "perplexity": 2.0, "known_perplexity": 2.0}
        result = {**figures, "word_count": 1, "unknown_words": 0}
        return httpx.Response(200, json={"results": [result]})

    async def ask() -> None:
        transport = httpx.MockTransport(answer)
        async with AsyncClient(transport=transport, session="ann", batch_size=1) as client:
            await client.score(["x", "y"])
            await client.score(["x", "y"], session="bob")

    asyncio.run(ask())
    assert [request.headers["x-session-id"] for request in requests] == ["ann", "ann", "bob", "bob"]


@pytest.mark.parametrize("session", ["", "two words", "Jürgen", "a\r\nb"])
def test_a_session_that_no_header_can_hold_is_refused(session: str) -> None:
    with pytest.raises(ValueError, match="session must be one or more printable ASCII"):
        Client(session=session)
    script = Script(answered())
    with script.client() as client, pytest.raises(ValueError, match="session must be"):
        client.predict("x", session=session)
    assert script.requests == []


def test_the_async_client_asks_again_too() -> None:
    script = Script(full(), httpx.ReadError("gone"), answered())

    async def ask() -> list[str]:
        async with AsyncClient(retries=AT_ONCE, transport=httpx.MockTransport(script)) as client:
            return [word.word for result in await client.predict("x") for word in result.words]

    assert asyncio.run(ask()) == ["a"]
    assert len(script.requests) == 3


def test_in_the_end_the_refusal_stands() -> None:
    script = Script(full())
    with pytest.raises(ServerError) as caught:
        script.client(Retries(attempts=3, first_wait=0)).predict("x")
    assert caught.value.code == "queue_full"
    assert len(script.requests) == 3


def test_a_server_far_from_ready_is_not_waited_for() -> None:
    script = Script(full("3600"))
    with pytest.raises(ServerError):
        script.client().predict("x")
    assert len(script.requests) == 1


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.UnsupportedProtocol("what")])
def test_what_asking_again_cannot_help_is_not_asked_again(failure: httpx.TransportError) -> None:
    script = Script(failure)
    with pytest.raises(ConnectionFailed) as caught:
        script.client().predict("x")
    assert caught.value.__cause__ is failure
    assert len(script.requests) == 1


def test_a_proxys_error_has_its_status() -> None:
    script = Script(httpx.Response(502, text="<html>"))
    with pytest.raises(ServerError) as caught:
        script.client().predict("x")
    assert (caught.value.status, caught.value.code, caught.value.message) == (502, "unknown", "Bad Gateway")


def test_no_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Client(batch_size=0)
