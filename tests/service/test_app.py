"""Models, metrics page, and that nobody waits for a large request of another."""

import asyncio
import threading

import pytest

from models.bundle import Bundle
from models.vocabulary import Vocabulary
from service.routes import ask
from service.routes import context as context_module
from tests.service.asking import Local, post

pytestmark = pytest.mark.anyio


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


async def test_metrics_page(local: Local) -> None:
    app = local()
    async with app.client() as client:
        page = await client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "headfirst_requests_total" in page.text


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
        await post(app, "score", inputs=["Thank you very much ."] * 150)
        finished.append("score")

    async def health() -> None:
        async with app.client() as client:
            while "score" not in finished:
                assert (await client.get("/health")).status_code == 200
                finished.append("health")
                await asyncio.sleep(0)

    await asyncio.gather(score(), health())
    assert finished.index("score") > 20
