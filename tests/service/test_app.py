"""The routes around an engine double: answers, limits, deadlines, failures."""

import asyncio
import json
import math
import threading
from collections.abc import Callable

import httpx
import pytest

from models.bundle import Bundle
from models.vocabulary import Vocabulary
from service.errors import Draining, InferenceFailed, NotReady, QueueFull, TooLarge
from service.messages import Predict, Predicted, Score, Scored
from service.routes import ask
from service.routes import context as context_module
from service.routes.predict import last_words
from tests.service.conftest import LocalApp
from tests.service.doubles import TIMING, compute

pytestmark = pytest.mark.anyio
Local = Callable[..., LocalApp]


async def post(
    app: LocalApp, path: str, headers: dict[str, str] | None = None, **body: object
) -> httpx.Response:
    async with app.client() as client:
        return await client.post(f"/v1/{path}", json=body, headers=headers)


def error_of(response: httpx.Response) -> dict[str, str | None]:
    assert list(response.json()) == ["error"]
    error: dict[str, str | None] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


async def test_predict(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "predict", inputs=["Thank you very", "zzz you", ""], k=3)
    assert response.status_code == 200
    assert list(response.json()) == ["results"]
    first, second, third = response.json()["results"]
    assert list(first) == ["words", "context_words", "unknown_words"]
    assert [(len(r["words"]), r["context_words"], r["unknown_words"]) for r in (first, second, third)] == [
        (3, 3, 0),
        (3, 2, 1),
        (3, 0, 0),
    ]
    ids = bundle.vocabulary.encode_batch(["Thank you very"])[0]
    expected = compute(bundle, Predict("", tuple(ids), 3, None, None))
    assert isinstance(expected, Predicted)
    assert [word["word"] for word in first["words"]] == [bundle.vocabulary.word(i) for i in expected.ids]
    assert [word["logprob"] for word in first["words"]] == pytest.approx(expected.logprobs, abs=1e-6)


async def test_predict_prefix(local: Local) -> None:
    app = local()
    response = await post(app, "predict", inputs="Thank you", k=1000, prefix="ve")
    words = [word["word"] for word in response.json()["results"][0]["words"]]
    assert len(words) > 1
    assert all(word.startswith("ve") for word in words)
    response = await post(app, "predict", inputs="Thank you", prefix="no word starts so")
    assert response.json()["results"][0]["words"] == []
    await post(app, "predict", inputs="Thank you", prefix="")
    assert app.engine.submitted[-1].prefix is None  # type: ignore[union-attr]


async def test_predict_uses_the_last_words(local: Local) -> None:
    app = local(max_context_words=10)
    response = await post(app, "predict", inputs=["the " * 12 + "zzz very", "the " * 10])
    assert [result["context_words"] for result in response.json()["results"]] == [9, 10]
    assert [result["unknown_words"] for result in response.json()["results"]] == [1, 0]


@pytest.mark.parametrize("limit", [2, 3, 10, 11])
def test_the_start_of_a_long_context_moves_in_steps(limit: int) -> None:
    starts = set()
    for length in range(200):
        kept = last_words(list(range(length)), limit)
        assert kept == list(range(length))[length - len(kept) :]
        assert min(length, limit - limit // 2) <= len(kept) <= limit
        starts.add(length - len(kept))
    assert all(start % (limit // 2) == 0 for start in starts)


async def test_score(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "score", inputs=["Thank you very zzz.", ""])
    assert list(response.json()) == ["results"]
    result, empty = response.json()["results"]
    assert list(result) == ["logprob", "perplexity", "word_count", "unknown_words", "words"]
    assert [list(word) for word in result["words"]] == [["word", "logprob", "known"]] * 6
    assert [word["word"] for word in result["words"]] == ["Thank", "you", "very", "zzz", ".", "</s>"]
    assert [word["known"] for word in result["words"]] == [True, True, True, False, True, True]
    assert (result["word_count"], result["unknown_words"]) == (6, 1)
    assert result["logprob"] == pytest.approx(sum(word["logprob"] for word in result["words"]), abs=1e-6)
    assert result["perplexity"] == pytest.approx(math.exp(-result["logprob"] / 6), rel=1e-5)
    assert [word["word"] for word in empty["words"]] == ["</s>"]
    vocabulary = bundle.vocabulary
    targets = (*vocabulary.encode_batch(["Thank you very zzz."])[0], vocabulary.end_id)
    expected = compute(bundle, Score("", (), targets, None))
    assert [word["logprob"] for word in result["words"]] == pytest.approx(expected.logprobs, abs=1e-6)


async def test_score_options(local: Local) -> None:
    app = local()
    whole = (await post(app, "score", inputs="Thank you very much")).json()["results"][0]
    rest = (await post(app, "score", inputs="very much", context="Thank you")).json()["results"][0]
    assert [word["word"] for word in rest["words"]] == ["very", "much", "</s>"]
    logprobs = [word["logprob"] for word in whole["words"]]
    assert [word["logprob"] for word in rest["words"]] == pytest.approx(logprobs[2:], abs=1e-4)
    bare = (await post(app, "score", inputs="very much", context="Thank you", end_of_sentence=False)).json()
    assert [word["word"] for word in bare["results"][0]["words"]] == ["very", "much"]
    assert bare["results"][0]["word_count"] == 2
    assert bare["results"][0]["logprob"] == pytest.approx(sum(logprobs[2:4]), abs=1e-4)
    short = (await post(app, "score", inputs="Thank you very much", per_word=False)).json()["results"][0]
    assert short == {name: value for name, value in whole.items() if name != "words"}


async def test_a_text_without_words_has_no_score(local: Local) -> None:
    response = await post(local(), "score", inputs=["you", " \n"], end_of_sentence=False)
    assert response.status_code == 422
    assert error_of(response)["param"] == "inputs[1]"


async def test_a_long_score_in_pieces(local: Local) -> None:
    text = "Thank you very much . " * 1200
    response = await post(local(), "score", inputs=[text, "you"])
    long, short = response.json()["results"]
    assert long["word_count"] == len(long["words"]) == 6001
    assert [word["word"] for word in long["words"]] == [*text.split(), "</s>"]
    assert short["word_count"] == 2


async def test_impossible_words_are_null(local: Local) -> None:
    app = local(answer=lambda message: Scored((-1.5, -math.inf), TIMING))
    response = await post(app, "score", inputs="you", context="Thank")
    assert "Infinity" not in response.text
    assert response.json()["results"] == [
        {
            "logprob": None,
            "perplexity": None,
            "word_count": 2,
            "unknown_words": 0,
            "words": [
                {"word": "you", "logprob": -1.5, "known": True},
                {"word": "</s>", "logprob": None, "known": True},
            ],
        }
    ]


async def test_timing_header(local: Local) -> None:
    response = await post(local(), "predict", inputs=["a", "b"])
    parts = dict(part.split(";", 1) for part in response.headers["server-timing"].split(", "))
    assert parts["queue"] == "dur=1.000"
    assert parts["engine"] == "dur=2.000"
    assert float(parts["total"].removeprefix("dur=")) > 0
    assert (parts["batch"], parts["cached"]) == ('desc="3"', 'desc="8"')


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"inputs": []}, "inputs", "empty"),
        ({"inputs": ["a"] * 6}, "inputs", "too_many_inputs"),
        ({"inputs": "a" * 101}, "inputs", "too_many_characters"),
        ({"inputs": ["a", "a" * 101]}, "inputs[1]", "too_many_characters"),
        ({"inputs": "a " * 21}, "inputs", "too_many_words"),
        ({"inputs": ["a", "a " * 21]}, "inputs[1]", "too_many_words"),
    ],
)
@pytest.mark.parametrize("path", ["predict", "score"])
async def test_limits(local: Local, path: str, body: dict[str, object], param: str, code: str) -> None:
    app = local(max_inputs=5, max_input_chars=100, max_input_words=20)
    response = await post(app, path, **body)
    assert response.status_code == 422
    assert (error_of(response)["param"], error_of(response)["code"]) == (param, code)
    assert not app.engine.submitted
    assert app.sample("rejected_total", reason="invalid") == 1


async def test_limits_of_single_fields(local: Local) -> None:
    app = local(max_k=7, max_input_chars=100, max_input_words=20)
    assert error_of(await post(app, "predict", inputs="a", k=8))["param"] == "k"
    assert (await post(app, "predict", inputs="a", k=7)).status_code == 200
    assert error_of(await post(app, "score", inputs="a", context="a" * 101))["param"] == "context"
    assert error_of(await post(app, "score", inputs="a", context="a " * 21))["param"] == "context"


async def test_k_above_the_vocabulary_means_all_words(local: Local, bundle: Bundle) -> None:
    response = await post(local(), "predict", inputs="a", k=1000)
    words = [word["word"] for word in response.json()["results"][0]["words"]]
    assert len(set(words)) == len(words) == len(bundle.vocabulary) - len(bundle.vocabulary.special_ids)
    assert "</s>" in words
    assert "<unk>" not in words


async def test_model(local: Local) -> None:
    app = local()
    assert (await post(app, "predict", inputs="a", model="tiny")).status_code == 200
    response = await post(app, "predict", inputs="a", model="other")
    assert response.status_code == 404
    assert (error_of(response)["param"], error_of(response)["code"]) == ("model", "model_not_found")


async def test_models(local: Local, bundle: Bundle) -> None:
    async with local().client() as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
    assert model["name"] == model["id"] == "tiny"
    assert model["architecture"] == "lstm"
    assert model["vocabulary_size"] == len(bundle.vocabulary)
    assert model["cutoffs"] == list(bundle.config.cutoffs)
    assert model["clusters"] == bundle.config.n_clusters
    assert model["parameters"] == bundle.model.parameter_count()
    assert (model["dtype"], model["device"]) == ("float32", "cpu")


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (QueueFull(retry_after=4.5), 429, "queue_full"),
        (NotReady(), 503, "not_ready"),
        (Draining(), 503, "draining"),
    ],
)
async def test_what_the_engine_refuses(local: Local, refusal: Exception, status: int, code: str) -> None:
    app = local()
    app.engine.refusal = refusal
    response = await post(app, "predict", inputs="a")
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["retry-after"] == ("5" if status == 429 else "1")
    assert app.sample("rejected_total", reason=code) == 1
    assert app.lifecycle.in_flight == 0


async def test_more_than_the_queue_can_ever_hold_is_422(local: Local) -> None:
    app = local()
    app.engine.refusal = TooLarge("The request has more tokens than the queue can hold.")
    response = await post(app, "score", inputs="a")
    assert response.status_code == 422
    assert (error_of(response)["param"], error_of(response)["code"]) == ("inputs", "too_many_words")


@pytest.mark.parametrize(
    ("fault", "code"), [(InferenceFailed(), "inference_failed"), (RuntimeError("secret"), "internal_error")]
)
async def test_failures_are_500_without_a_traceback(
    local: Local, caplog: pytest.LogCaptureFixture, fault: Exception, code: str
) -> None:
    def fail(message: object) -> Predicted:
        raise fault

    app = local(answer=fail)
    response = await post(app, "predict", {"x-request-id": "me-1"}, inputs=["Thank you", "very"])
    assert (response.status_code, error_of(response)["code"]) == (500, code)
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "me-1"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.fields == {"id": "me-1", "endpoint": "/v1/predict"}  # type: ignore[attr-defined]


async def test_deadline_is_kept_whatever_the_engine_does(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    response = await post(app, "predict", inputs=["a", "b"], timeout_ms=20)
    assert response.status_code == 504
    assert error_of(response)["code"] == "deadline_exceeded"
    assert all(future.cancelled() for future in app.engine.futures)


@pytest.mark.parametrize(
    ("header", "timeout_ms", "expected"),
    [
        (None, None, 30.0),
        ("2.5", None, 2.5),
        (None, 1500, 1.5),
        ("2", 5000, 2.0),
        ("5", 2000, 2.0),
        ("1e9", None, 60.0),
        (None, 10**30, 30.0),
        ("inf", None, 60.0),
    ],
)
async def test_deadline_given_to_the_engine(
    local: Local, header: str | None, timeout_ms: int | None, expected: float
) -> None:
    app = local(max_request_timeout=60)
    started = asyncio.get_running_loop().time()
    headers = {} if header is None else {"x-request-timeout": header}
    response = await post(app, "predict", headers, inputs="a", timeout_ms=timeout_ms)
    assert response.status_code == 200
    deadline = app.engine.submitted[0].deadline
    assert deadline is not None
    assert deadline - started == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", ""])
async def test_a_bad_timeout_header(local: Local, value: str) -> None:
    response = await post(local(), "predict", {"x-request-timeout": value}, inputs="a")
    assert response.status_code == 422
    assert error_of(response)["param"] == "X-Request-Timeout"


async def test_compressed_bodies_are_told(local: Local) -> None:
    response = await post(local(), "predict", {"content-encoding": "gzip"}, inputs="a")
    assert response.status_code == 400
    assert error_of(response)["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "x"])
async def test_any_content_type_is_read_as_json(local: Local, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with local().client() as client:
        response = await client.post("/v1/predict", content=b'{"inputs": "a"}', headers=headers)
    assert response.status_code == 200


async def test_long_texts_are_tokenized_off_the_event_loop(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    encode = Vocabulary.encode_batch

    def spy(self: Vocabulary, texts: list[str]) -> list[list[int]]:
        threads.append(threading.current_thread().name)
        return encode(self, texts)

    app = local()
    monkeypatch.setattr(Vocabulary, "encode_batch", spy)
    monkeypatch.setattr(context_module, "INLINE_CHARS", 10)
    await post(app, "predict", inputs="a" * 10)
    await post(app, "predict", inputs="a" * 11)
    assert threads[0] == "MainThread"
    assert threads[1].startswith("worker")


async def test_other_requests_are_served_while_a_long_answer_is_written(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "YIELD_BYTES", 100)
    app = local()
    finished: list[str] = []

    async def score() -> None:
        await post(app, "score", inputs=["Thank you very much ."] * 500)
        finished.append("score")

    async def health() -> None:
        async with app.client() as client:
            while "score" not in finished:
                assert (await client.get("/health")).status_code == 200
                finished.append("health")
                await asyncio.sleep(0)

    await asyncio.gather(score(), health())
    assert finished.index("score") > 20


@pytest.mark.parametrize(
    ("state", "live", "ready", "code"),
    [
        ("ready", 200, 200, None),
        ("starting", 200, 503, "loading"),
        ("draining", 200, 503, "draining"),
        ("dead", 503, 503, "engine_dead"),
    ],
)
async def test_health(local: Local, state: str, live: int, ready: int, code: str | None) -> None:
    app = local()
    app.engine.state, app.engine.reason = state, "because"
    async with app.client() as client:
        answers = {path: await client.get(path) for path in ("/health/live", "/health/ready", "/health")}
        head = await client.head("/health/ready")
    assert [answer.status_code for answer in answers.values()] == [live, ready, ready]
    assert head.status_code == ready
    for answer in answers.values():
        if answer.status_code == 200:
            assert answer.json() == {"status": "ok"}
        else:
            assert error_of(answer)["code"] == code
            assert answer.headers["retry-after"]
    assert app.sample("rejected_total", reason="not_ready") == 0


async def test_draining_is_seen_at_once(local: Local) -> None:
    app = local()
    app.lifecycle.draining = True
    async with app.client() as client:
        ready = await client.get("/health/ready")
        live = await client.get("/health/live")
        refused = await client.post("/v1/predict", json={"inputs": "a"})
    assert (ready.status_code, live.status_code, refused.status_code) == (503, 200, 503)
    assert error_of(ready)["code"] == error_of(refused)["code"] == "draining"
    assert refused.headers["connection"] == "close"
    assert app.sample("rejected_total", reason="draining") == 1


async def test_one_failing_input_fails_its_request_only(local: Local, bundle: Bundle) -> None:
    def sometimes(message: Predict) -> Predicted:
        if message.k == 3:
            raise InferenceFailed
        answer = compute(bundle, message)
        assert isinstance(answer, Predicted)
        return answer

    app = local(answer=sometimes)
    bad, good = await asyncio.gather(
        post(app, "predict", inputs=["a", "b"], k=3), post(app, "predict", inputs=["a", "b"], k=2)
    )
    assert (bad.status_code, good.status_code) == (500, 200)


async def test_metrics_page(local: Local) -> None:
    app = local()
    async with app.client() as client:
        page = await client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "headfirst_requests_total" in page.text


async def test_openapi(local: Local) -> None:
    async with local().client() as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert set(document["paths"]) == {
        "/v1/predict",
        "/v1/score",
        "/v1/models",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/v1/predict", "/v1/score"):
        operation = document["paths"][path]["post"]
        assert set(operation["responses"]) == {
            "200",
            "400",
            "401",
            "404",
            "413",
            "422",
            "429",
            "500",
            "503",
            "504",
        }
        assert operation["requestBody"]["content"]["application/json"]["schema"]["examples"]
        assert operation["responses"]["200"]["content"]["application/json"]["example"]["results"]
        for status, response in operation["responses"].items():
            content = response["content"]["application/json"]
            assert content["example"]
            if status != "200":
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize("path", ["predict", "score"])
async def test_documented_answers_are_the_models_own(local: Local, path: str) -> None:
    app = local()
    async with app.client() as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"][f"/v1/{path}"]["post"]
        request = operation["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
        response = await client.post(f"/v1/{path}", json=request)
    assert response.json() == operation["responses"]["200"]["content"]["application/json"]["example"]


@pytest.mark.parametrize("path", ["predict", "score"])
async def test_documented_examples_work(local: Local, path: str) -> None:
    app = local()
    async with app.client() as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"][f"/v1/{path}"]["post"]
        for example in operation["requestBody"]["content"]["application/json"]["schema"]["examples"]:
            response = await client.post(f"/v1/{path}", json=example)
            assert response.status_code == 200
            documented = operation["responses"]["200"]["content"]["application/json"]["example"]
            assert list(response.json()["results"][0]) == list(documented["results"][0])
            assert list(response.json()["results"][0]["words"][0]) == list(
                documented["results"][0]["words"][0]
            )
