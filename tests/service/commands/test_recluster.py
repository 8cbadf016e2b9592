"""`headfirst recluster`: from a bundle with few clusters to one with many, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from models.training.clusters import planning
from models.training.clusters.timing import TimeModel, TimeModels
from tests.support.commands import refusal, run
from tests.support.tiny import tiny_bundle, tiny_config, tiny_text


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose times are known."""

    def measure_serving(d: int, widths: list[int], *_: object) -> tuple[TimeModel, TimeModels]:
        return TimeModel(1e-6, 1e-9 * d, 0), TimeModels({w: TimeModel(1e-7, 1e-9 * w, 0) for w in widths}, {})

    monkeypatch.setattr(planning, "measure_serving", measure_serving)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return tiny_text(tmp_path / "text.txt", 120)


def test_a_bundle_with_many_clusters(text: Path, tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path, tiny_config(cutoffs=(40, 120, 280), bands=((1, 16), (1, 8))))
    out = tmp_path / "out"
    arguments = ("recluster", model, out, "--text", text, "--clusters", 8, "--rows", 400, "--iterations", 40)
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    made = Bundle.load(out, "cpu")
    assert made.config.n_clusters == 8
    assert made.config.band_edges == (40, 120, 280)
    assert made.dtype == "float32"
    assert "## Reclustered" in (out / "README.md").read_text()
    assert "fewer words scored" in result.stdout
    again = run(*arguments)
    assert again.stdout == result.stdout
    given = run(*arguments, "--cutoffs", "40,80,120,200,280")
    assert given.exit_code == 0, given.stderr
    assert Bundle.load(out, "cpu").config.cutoffs == (40, 80, 120, 200, 280)


def test_refusals(text: Path, tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path, tiny_config(cutoffs=(40, 120, 280), bands=((1, 16), (1, 8))))
    for options, fault in [
        (["--cutoffs", "40,130,280"], "cutoffs must have [120]"),
        (["--clusters", 1], "the model has 2 clusters, which can be cut but not joined"),
        (["--cutoffs", "some"], "--cutoffs must be"),
        (["--clusters", 5000], "no number of clusters of [5000]"),
    ]:
        assert fault in refusal(
            run("recluster", model, tmp_path / "out", "--text", text, "--rows", 400, *options)
        )
    (tmp_path / "plain").mkdir()
    plain = tiny_bundle(tmp_path / "plain", tiny_config(cutoffs=(280,), bands=()))
    for edges, fault in [
        ("280", "a short-list and one tail cluster or more"),
        ("9,20", "the last cutoff (20)"),
    ]:
        arguments = ("recluster", plain, tmp_path / "out", "--text", text, "--rows", 400)
        assert fault in refusal(run(*arguments, "--cutoffs", edges))


@pytest.mark.parametrize("tied", [True, False])
def test_a_softmax_over_all_words(text: Path, tmp_path: Path, tied: bool) -> None:
    """Gets a short-list of its most probable words, and clusters of the others."""
    model = tiny_bundle(tmp_path, tiny_config(cutoffs=(280,), bands=(), tied=tied))
    out = tmp_path / "out"
    arguments = ("recluster", model, out, "--text", text, "--clusters", 6, "--rows", 400, "--iterations", 60)
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    made, old = Bundle.load(out, "cpu"), Bundle.load(model, "cpu")
    assert (made.config.n_clusters, made.config.tied) == (6, tied)
    words = [[one.vocabulary.word(i) for i in range(280)] for one in (made, old)]
    assert words[0] != words[1]
    assert sorted(words[0]) == sorted(words[1])
    assert "the softmax over all words became a short-list and 6" in (out / "README.md").read_text()
    before, after = (perplexity(result.stdout, name) for name in ("before", "after"))
    assert abs(math.log(after / before)) < 0.5  # of a random model that expects other text
    assert run(*arguments).stdout == result.stdout  # from what is kept


def test_a_softmax_over_all_words_may_learn_on(text: Path, tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path, tiny_config(cutoffs=(280,), bands=()))
    result = run(
        "recluster", model, tmp_path / "out", "--text", text, "--clusters", 6, "--rows", 400,
        "--iterations", 10, "--fine-tune", 6, "--learning-rate", 1e-2,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert perplexity(result.stdout, "fine-tuned") < perplexity(result.stdout, "after")


def test_the_rest_may_learn_too(text: Path, tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path, tiny_config(cutoffs=(40, 120, 280), bands=((1, 16), (1, 8))))
    out = tmp_path / "out"
    arguments = (
        "recluster", model, out, "--text", text, "--clusters", 8, "--rows", 400, "--iterations", 10,
        "--fine-tune", 6, "--learning-rate", 1e-2,
    )  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    before, made = Bundle.load(model, "cpu").model, Bundle.load(out, "cpu").model
    assert not torch.equal(made.softmax.tails[0], before.softmax.tails[0])
    before_, after, tuned = (perplexity(result.stdout, name) for name in ("before", "after", "fine-tuned"))
    assert tuned < after  # the tiny model is random, so that any text teaches it something
    assert f"{tuned / before_ - 1:+.2%}"[:4] in result.stdout
    assert "trained a little further" in (out / "README.md").read_text()
    assert run(*arguments).stdout == result.stdout  # from the checkpoint


def perplexity(table: str, row: str) -> float:
    cells = next(line for line in table.splitlines() if row in line and "clusters" not in line)
    return float(cells.split("│")[3])
