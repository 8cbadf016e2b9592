"""`pretokenized`: words of the vocabulary between white space, everywhere; and a start word of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import torch

from models.bundle import Bundle
from models.config.model import ModelConfig
from models.config.tokenization import Whitespace
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from tests.support.asgi import Local, error_of, post
from tests.support.commands import json_rows, run
from tests.support.server_process import ServerProcess
from tests.support.tiny import tiny_config, tiny_model, tiny_words

TEXT = "Thank you </s> <unk> zzz very."
"""Ours are `.`, not `very.`, and no special words, in text; as words, `very.` is none and `</s>` is one."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose texts are split at white space and start after a word of their own, `Thank`."""
    changes = {"tokenization": Whitespace(), "start_word": "Thank"}
    config = ModelConfig(**tiny_config().model_dump() | changes)
    path = tmp_path_factory.mktemp("started") / "started"
    words = Vocabulary.from_words(tiny_words(), SpecialWords.of(config))
    Bundle.save(path, tiny_model(config, seed=8), words, dtype=torch.float32)
    return path


@pytest.mark.anyio
async def test_requests(local: Local, bundle: Bundle) -> None:
    app = local()
    response = await post(app, "score", inputs=TEXT, context="the </s>", pretokenized=True)
    (result,) = response.json()["results"]
    shown = [(word["word"], word["known"]) for word in result["words"]]
    words = [
        ("Thank", True),
        ("you", True),
        ("</s>", True),
        ("<unk>", False),
        ("zzz", False),
        ("very.", False),
    ]
    assert shown == [*words, ("</s>", True)]
    asked = app.engine.submitted[-1]
    ids = {word: i for i, word in enumerate(tiny_words())}
    assert asked.context == (ids["the"], 1)  # type: ignore[union-attr]
    assert asked.targets == (ids["Thank"], ids["you"], 1, 0, 0, 0, 1)  # type: ignore[union-attr]

    (result,) = (await post(app, "predict", inputs=TEXT, pretokenized=True)).json()["results"]
    assert (result["context_words"], result["unknown_words"]) == (6, 3)
    assert app.engine.submitted[-1].tokens == (ids["Thank"], ids["you"], 1, 0, 0, 0)  # type: ignore[union-attr]
    for pretokenized in ({}, {"pretokenized": False}):
        (result,) = (await post(app, "predict", inputs="very.", **pretokenized)).json()["results"]
        assert (result["context_words"], result["unknown_words"]) == (2, 0)
    response = await post(app, "predict", inputs="very", pretokenized="yes")
    assert (response.status_code, error_of(response)["param"]) == (422, "pretokenized")


def test_commands(bundle_path: Path) -> None:
    (row,) = json_rows(run("score", "-", "--model", bundle_path, "--pretokenized", stdin=TEXT.encode()))
    assert [word["word"] for word in row["words"]] == [*TEXT.split(), "</s>"]
    (other,) = json_rows(run("score", "-", "--model", bundle_path, stdin=TEXT.encode()))
    assert other["word_count"] > row["word_count"]
    options = ("--context", "the </s>", "--pretokenized")
    (again,) = json_rows(run("score", "-", "--model", bundle_path, *options, stdin=b"Thank you"))
    split = ("--context", "the </s> Thank", "--pretokenized")
    (rest,) = json_rows(run("score", "-", "--model", bundle_path, *split, stdin=b"you"))
    assert [word["logprob"] for word in again["words"][1:]] == [word["logprob"] for word in rest["words"]]
    (predicted,) = json_rows(run("predict", TEXT, "--model", bundle_path, "--pretokenized", "--json"))
    assert (predicted["context_words"], predicted["unknown_words"]) == (6, 3)


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_server_whose_texts_have_a_start_word(started: Path, workers: str) -> None:
    """In one process and in several, of which those that read the text have the vocabulary alone."""
    bundle = Bundle.load(started, "cpu")
    start = tiny_words().index("Thank")
    ids = torch.tensor([[start, *bundle.vocabulary.encode_batch(["you very"])[0]]])
    with torch.inference_mode():
        hidden, _ = bundle.model.encode(ids, torch.tensor([3]), bundle.model.initial_state(1))
        want = bundle.model.softmax.log_prob(hidden[0])
    server = ServerProcess("--model", str(started), "--http-workers", workers)
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            body = {"inputs": "you very", "pretokenized": True, "end_of_sentence": True}
            (scored,) = client.post("/v1/score", json=body).json()["results"]
            got = [word["logprob"] for word in scored["words"]]
            targets = [*ids[0, 1:].tolist(), 1]
            assert got == pytest.approx([want[i, word].item() for i, word in enumerate(targets)], abs=1e-4)
            (found,) = client.post("/v1/predict", json={"inputs": "you very", "k": 280}).json()["results"]
            by_word = {word["word"]: word["logprob"] for word in found["words"]}
            assert by_word.keys() == set(tiny_words()) - {"<unk>", "Thank"}
            assert by_word["</s>"] == pytest.approx(want[2, 1].item(), abs=1e-4)
    finally:
        server.stop()


def test_inspect_tells_the_words(started: Path) -> None:
    facts = json.loads(run("inspect", started, "--json").stdout)
    assert facts["special_words"]["start"] == "Thank"
    assert facts["special_words"]["never_predicted"] == ["<unk>", "Thank"]
    assert facts["tokenization"] == {"type": "whitespace", "lowercase": False}
