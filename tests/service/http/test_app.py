"""Models, metrics page, and that nobody waits for a large request of another."""

import threading
from typing import Any

import pytest

from models.bundle import Bundle
from models.text.vocabulary import Vocabulary
from service.scoring.scored_text import ScoredText
from tests.support.asgi import Local, post
from tests.support.engines import FakeEngine

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


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where texts are tokenized, messages submitted and answers written, in this order, for each request."""
    names: list[str] = []

    def spy(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def told(*arguments: Any) -> Any:
            names.append(threading.current_thread().name.partition("_")[0])
            return original(*arguments)

        monkeypatch.setattr(owner, name, told)

    spy(Vocabulary, "tokenize_batch")
    spy(FakeEngine, "submit")
    spy(ScoredText, "summary")
    return names


# Tokenized are contexts, then inputs.
INLINE = ["MainThread"] * 4
IN_WORKER = ["worker"] * 4


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": "x" * 8192}, INLINE),
        ({"inputs": "x" * 8193}, IN_WORKER),
        ({"inputs": "a", "context": "x" * 8193}, IN_WORKER),
        ({"inputs": "," * 2047}, INLINE),
        ({"inputs": "," * 2048}, [*INLINE[:-1], "worker"]),
    ],
    ids=["short", "long", "long context", "few words", "many words"],
)
async def test_large_requests_hold_nobody_up(
    local: Local, threads: list[str], body: dict[str, str], expected: list[str]
) -> None:
    app = local()
    threads.clear()
    response = await post(app, "score", **body)
    assert response.status_code == 200
    assert threads == expected
