"""`headfirst quantize`: end to end on a tiny bundle, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from models.spelling.spelling_model import SPELLING
from models.training.corpus import lines
from tests.support.commands import refusal, run
from tests.support.tiny import tiny_bundle, tiny_config, tiny_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return tiny_text(tmp_path / "text.txt", 60)


def perplexity(bundle: Bundle, text: Path) -> float:
    """Of the text, a line and a word at a time, by the whole distribution."""
    model, vocabulary, logprobs = bundle.model, bundle.vocabulary, []
    with torch.inference_mode():
        for ids in vocabulary.encode_batch(list(lines(text))):
            hidden = model.read([vocabulary.start_id, *ids])
            every = model.softmax.log_prob(hidden)
            logprobs += [row[word] for row, word in zip(every, [*ids, vocabulary.end_id], strict=True)]
    return torch.stack(logprobs).double().mean().neg().exp().item()


@pytest.mark.parametrize("tables", [False, True])
def test_a_bundle_in_8_bits(path: Path, text: Path, tmp_path: Path, tables: bool) -> None:
    out = tmp_path / "out"
    result = run("quantize", path, out, "--text", text, *(["--tables"] if tables else []))
    assert result.exit_code == 0, result.stderr
    before, after = Bundle.load(path, "cpu"), Bundle.load(out, "cpu")
    sizes = [(one / "model.safetensors").stat().st_size for one in (path, out)]
    assert sizes[1] < (0.4 if tables else 0.62) * sizes[0]
    assert after.config.quantization is not None
    cost = after.config.quantization.cost
    assert cost is not None
    assert cost.perplexity_before == pytest.approx(perplexity(before, text), rel=1e-5)
    assert cost.perplexity == pytest.approx(perplexity(after, text), rel=1e-5)
    assert cost.words == 60 * 10
    assert 0.8 < cost.same_first < 1
    told = f"{cost.perplexity_before:.3f} became {cost.perplexity:.3f}"
    assert told in result.stdout
    assert told in (out / "README.md").read_text()
    facts = json.loads(run("inspect", out, "--json").stdout)
    assert facts["quantization"]["cost"]["perplexity"] == cost.perplexity
    assert facts["disk_bytes"] == pytest.approx(sizes[1], rel=0.2)
    shown = re.sub(r"[\s│]+", " ", run("inspect", out).stdout)
    assert f"perplexity {cost.perplexity_before:.3f} to {cost.perplexity:.3f}" in shown
    assert "the body in 8 bits, the rest in float32" in shown


def test_without_a_text(path: Path, tmp_path: Path) -> None:
    result = run("quantize", path, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "What that costs was not measured." in (tmp_path / "out" / "README.md").read_text()
    assert "not measured" in run("inspect", tmp_path / "out").stdout


def test_a_spelling_model_comes_along(path: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(["zandor tells kaskarel of bandarkost"] * 50))
    assert run("spell", path, "--text", tmp_path / "names.txt").exit_code == 0
    assert run("quantize", path, tmp_path / "out", "--text", text).exit_code == 0
    made = Bundle.load(tmp_path / "out", "cpu")
    assert made.spelling is not None
    assert made.config.quantization is not None
    # And the other way round.
    assert run("spell", tmp_path / "out", "--text", tmp_path / "names.txt").exit_code == 0
    assert (tmp_path / "out" / SPELLING).exists()
    assert Bundle.load(tmp_path / "out", "cpu").config.quantization == made.config.quantization


def test_refusals(path: Path, text: Path, tmp_path: Path) -> None:
    assert "is the bundle itself" in refusal(run("quantize", path, path))
    assert "no such file" in refusal(run("quantize", path, tmp_path / "out", "--text", tmp_path / "none"))
    (tmp_path / "empty.txt").touch()
    assert "holds no text" in refusal(
        run("quantize", path, tmp_path / "out", "--text", tmp_path / "empty.txt")
    )
    assert not (tmp_path / "out").exists()
    assert run("quantize", path, tmp_path / "out").exit_code == 0
    assert "quantized already" in refusal(run("quantize", tmp_path / "out", tmp_path / "again"))
    assert "recluster the model before" in refusal(
        run("recluster", tmp_path / "out", tmp_path / "again", "--text", text)
    )


def test_answers_of_the_commands(path: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    plain = tiny_bundle(tmp_path / "other", tiny_config(cutoffs=(280,), bands=()))
    for model in (path, plain):
        out = tmp_path / f"{model.parent.name}-out"
        assert run("quantize", model, out).exit_code == 0
        answer = json.loads(run("predict", "Thank very", "--model", out, "--json").stdout)
        bundle = Bundle.load(out, "cpu")
        hidden = bundle.model.read([1, *bundle.vocabulary.encode_batch(["Thank very"])[0]])[-1:]
        best = bundle.model.softmax.log_prob(hidden)[0].topk(12)
        wanted = [bundle.vocabulary.word(i) for i in best.indices.tolist() if i != 0][:10]
        assert [word["word"] for word in answer["words"]] == wanted
