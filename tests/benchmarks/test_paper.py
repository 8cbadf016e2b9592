"""benchmarks.paper and its kin at a tiny size: every method trains, is measured, resumes and is reported."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from benchmarks import many_clusters
from benchmarks.growth import exponent, stretched
from benchmarks.measures import perplexities
from benchmarks.paper import runs as paper_runs
from benchmarks.paper.methods import SHAPED, SMALL, TABLE, Method
from benchmarks.paper.report import charts, markdown
from benchmarks.paper.runs import Runs
from models.training.clusters.serving_costs import Masses
from models.training.clusters.timing import Point
from models.training.corpus import Corpus, CorpusOptions, prepare
from models.training.evaluation import evaluate, split_lines
from models.training.layer import Layer
from tests.support.tiny import tiny_model

SETTING = replace(
    SMALL,
    vocabulary_size=120,
    hidden_size=32,
    units=16,
    shortlist=40,
    edge=80,
    options=replace(SMALL.options, steps=2, rows=4, window=8, precision="float32", checkpoint_every=1),
    samples=20,
    heldout_words=60,
)
CURVE = Method("adaptive-9", "adaptive, 9 clusters in shared bands", Layer.ADAPTIVE, clusters=9)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    draw = random.Random(0)
    words = [f"w{i}" for i in range(130)]
    weights = [1 / (i + 1) for i in range(130)]
    lines = [" ".join([*draw.choices(words, weights, k=9), words[i % 130]]) for i in range(400)]
    directory = tmp_path_factory.mktemp("paper")
    (directory / "a.txt").write_text("\n".join(lines))
    return prepare([directory / "a.txt"], directory, CorpusOptions(120, holdout_every=20))


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose times are known."""

    def measure(sizes: list[tuple[int, int]], width: int, *_: object, **__: object) -> list[Point]:
        return [Point(k, batch, 1e-6 + 1e-9 * width * max(k * batch, 256)) for k, batch in sizes]

    monkeypatch.setattr("models.training.clusters.planning.measure", measure)
    monkeypatch.setattr(paper_runs, "HEAD_SHARE", 0.5)
    monkeypatch.setattr(paper_runs, "top_seconds", lambda *_: 1e-3)


def test_every_method_is_trained_measured_and_reported(corpus: Corpus, tmp_path: Path) -> None:
    methods = (*TABLE[:-1], replace(TABLE[-1], clusters=8), CURVE)
    heard: list[str] = []
    runs = Runs(SETTING, corpus, tmp_path, torch.device("cpu"), lambda what, *_: heard.append(what))
    results = {method.key: runs.method(method) for method in methods}
    assert {one["words_seen"] for one in results.values()} == {64}
    assert results["full"]["top10"]["words_scored"] == 120
    assert results["adaptive-9"]["clusters"] == 9
    assert all(40 < one["perplexity"] < 400 for one in results.values())
    again = Runs(SETTING, corpus, tmp_path, torch.device("cpu"), lambda what, *_: pytest.fail(what))
    assert again.method(methods[0])["perplexity"] == results["full"]["perplexity"]
    text = markdown({"processor": "none"}, SETTING, runs.times(), results)
    assert "| 144 | 83 | 1.0x |" in text
    assert "median error" in text
    for svg in charts(runs.times(), results).values():
        ElementTree.fromstring(svg)  # noqa: S314 (our own)
    assert heard


def test_shapes_are_compared_over_seeds(corpus: Corpus, tmp_path: Path) -> None:
    runs = Runs(SETTING, corpus, tmp_path, torch.device("cpu"), lambda *_: None)
    assert not runs.is_done(SHAPED[0], 2)
    found = {
        method.key: [runs.method(method, seed) for seed in (1, 2)]
        for method in (SHAPED[0], replace(CURVE, shortlist=30))
    }
    assert runs.is_done(SHAPED[0], 2)
    two, many = found["adaptive-two"], found["adaptive-9"]
    assert two[0]["cutoffs"] == (40, 80, 120)
    assert many[0]["cutoffs"][0] == 30
    assert two[0]["perplexity"] != two[1]["perplexity"]
    text = many_clusters.markdown({"processor": "none"}, SETTING, found)
    average = sum(one["perplexity"] for one in two) / 2
    assert f"| 40 | 2 large | 2 | {average:.1f} ± " in text
    ratio = sum(one["top10"]["words_scored"] for one in two) / sum(
        one["top10"]["words_scored"] for one in many
    )
    assert f"| {ratio:.1f}x |" in text


def test_perplexities_of_bands_make_up_that_of_all(corpus: Corpus) -> None:
    from tests.support.tiny import tiny_config

    model = tiny_model(tiny_config(120, (30, 60, 120), ((1, 8), (1, 4))))
    lines = split_lines(corpus.heldout, 1)
    found = perplexities(model, lines, 1, corpus.counts, (0, 50, 120))
    assert found["perplexity"] == pytest.approx(evaluate(model, lines, 1, 0).perplexity, rel=1e-3)
    nats = sum(band["words"] * math.log(band["perplexity"]) for band in found["bands"])
    assert nats / found["words"] == pytest.approx(math.log(found["perplexity"]), rel=1e-3)


def test_vocabularies_are_cut_off_and_go_on_as_a_power_law() -> None:
    counts = 1e9 * np.arange(1.0, 2001.0) ** -1.5
    assert exponent(counts) == pytest.approx(1.5, abs=0.01)
    grid = np.array([10, 100, 500, 1000])
    cumulated = np.cumsum(counts)[[9, 99, 499, 999]]
    rows = Masses(grid, (cumulated / cumulated[-1])[None], {10: np.array([0.01])})
    smaller, larger = stretched(rows, 500, 1.5), stretched(rows, 2000, 1.5)
    assert smaller.grid.tolist() == [10, 100, 500]
    assert smaller.below[0, -1] == 1
    assert smaller.kth[10][0] == pytest.approx(0.01 * cumulated[-1] / cumulated[2])
    assert larger.grid[-1] == 2000
    # The law itself says how much lies beyond.
    assert larger.below[0, 3] == pytest.approx(cumulated[-1] / counts.sum(), rel=1e-3)
