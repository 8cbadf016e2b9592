"""`headfirst import word-language-model`: the bundle scores and predicts as the original does."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.bundle import Bundle
from tests.support.commands import json_rows, refusal, run
from tests.support.payload import Payload

DATA = Path(__file__).parents[2] / "oracles" / "word_language_model" / "data"
COMPLEXITY = DATA / "neural-complexity"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imported") / "model"
    result = run("import", "word-language-model", COMPLEXITY, path)
    assert result.exit_code == 0, result.stderr
    assert "cluster columns      │ none" in result.stdout
    return path


def test_per_word_scores_are_neural_complexity_s(model: Path) -> None:
    """Each line from the start, as its ``--words`` resets; its bits are our nats."""
    rows = json_rows(run("score", COMPLEXITY / "stimuli.txt", "--model", model, "--pretokenized"))
    header, *recorded = (COMPLEXITY / "words.txt").read_text().splitlines()
    want = [dict(zip(header.split(), line.split(), strict=True)) for line in recorded]
    words = [word for row in rows for word in row["words"][:-1]]
    assert all(row["words"][-1]["word"] == "<eos>" for row in rows)
    assert len(words) == len(want)
    for word, one in zip(words, want, strict=True):
        assert word["word"] == one["word"] or one["word"] == "<unk>"
        assert -word["logprob"] / math.log(2) == pytest.approx(float(one["surp"]), abs=1.5e-4)


def test_predictions_are_the_oracle_s(model: Path) -> None:
    expected = load_file(COMPLEXITY / "expected.safetensors")
    vocabulary = Bundle.load(model, "cpu").vocabulary
    ids, at = expected["ids"].tolist(), 12
    text = " ".join(vocabulary.word(i) for i in ids[1 : at + 1])
    result = run("predict", text, "--model", model, "--pretokenized", "-k", 5, "--json")
    (found,) = json_rows(result)
    logprobs = expected["logprobs"][at].clone()
    logprobs[vocabulary.unknown_id] = -torch.inf
    best = logprobs.topk(5)
    assert [one["word"] for one in found["words"]] == [vocabulary.word(i) for i in best.indices.tolist()]
    assert [one["logprob"] for one in found["words"]] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_the_bundle_says_what_it_is(model: Path) -> None:
    facts = json.loads(run("inspect", model, "--json").stdout)
    assert facts["architecture"] == "lstm"
    card = (model / "README.md").read_text()
    assert "A softmax over all words: it has no cluster columns." in card
    assert "`vocab.txt`" in card


def test_nothing_in_a_module_is_run(tmp_path: Path) -> None:
    """Not even in one that is whole and sound: what is no weight stays inert."""
    shutil.copytree(DATA / "gru-1-tied", tmp_path / "published")
    net = nn.Module()
    net.encoder, net.rnn, net.decoder = nn.Embedding(47, 8), nn.GRU(8, 8), nn.Linear(8, 47)
    net.hook = Payload(tmp_path / "mark")
    torch.save(net, tmp_path / "published" / "model.pt")
    result = run("import", "word-language-model", tmp_path / "published", tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "mark").exists()
    assert Bundle.load(tmp_path / "model", "cpu").config.architecture == "gru"


def test_a_fault_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(DATA / "lstm-1-tied", tmp_path / "published")
    (tmp_path / "published" / "vocab.txt").write_text("<eos>\n<unk>\n")
    line = refusal(run("import", "word-language-model", tmp_path / "published", tmp_path / "model"))
    assert line.startswith("headfirst import: ")
    assert "has 2 words, model.pt was trained on 47" in line
