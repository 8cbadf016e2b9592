"""benchmarks.default_clusters at a tiny size: what it measures, its rule, and copies that are made once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import default_clusters
from benchmarks.default_clusters import SHIPPED, Variant, held_out, in_turn, judge, make, verdict
from models.bundle import Bundle
from models.training.recluster import assemble, starting_rows
from tests.support.tiny import tiny_bundle, tiny_config, tiny_text

EDGES = (40, 80, 120, 200, 280)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tiny_bundle(tmp_path / "model", tiny_config(cutoffs=(40, 120, 280), bands=((1, 16), (1, 8))))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tiny_text(tmp_path / "text.txt", 20_000)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; each leaves a copy with `EDGES`."""
    run: list[list[str]] = []
    others = subprocess.run

    def recluster(command: Sequence[str], **options: Any) -> object:
        if "recluster" not in command:
            return others(command, **options)
        run.append(list(command))
        bundle = Bundle.load(Path(command[4]), "cpu")
        made = assemble(bundle.model, EDGES, *starting_rows(bundle.model.softmax, EDGES))
        Bundle.save(Path(command[5]), made, bundle.vocabulary)
        return None

    monkeypatch.setattr(subprocess, "run", recluster)
    return run


def test_copies_are_made_once(model: Path, corpus: Path, tmp_path: Path, calls: list[list[str]]) -> None:
    further = Variant("4, further", 4, steps=3)
    for variant in (further, further, Variant("rare", pieces=2)):
        assert (make(variant, model, corpus, 100, tmp_path) / "config.json").exists()
    (first, second) = calls
    assert first[:4] == [sys.executable, "-m", "service.cli", "recluster"]
    assert {"--clusters=4", "--fine-tune=3", f"--work={tmp_path / 'fit-4'}"} <= set(first)
    assert "--cutoffs=40,120,200,280" in second


def test_the_lines_that_training_left_out(model: Path, corpus: Path) -> None:
    bundle = Bundle.load(model, "cpu")
    lines = corpus.read_text().splitlines()
    found = held_out(bundle, corpus)
    assert len(found) == 40
    assert found[1].tolist() == [*bundle.vocabulary.encode_batch([lines[750]])[0], bundle.vocabulary.end_id]


def test_the_report(
    model: Path, corpus: Path, tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_clusters, "VARIANTS", (Variant("4", 4),))
    monkeypatch.setattr(default_clusters, "settle", lambda: None)
    monkeypatch.setattr(default_clusters, "PREDICTIONS", 64)
    arguments = [str(corpus), f"--model={model}", f"--out={tmp_path}", f"--work={tmp_path / 'work'}"]
    monkeypatch.setattr(sys, "argv", ["default_clusters", *arguments, "--seconds=0", "--searched=200"])
    default_clusters.main()
    (file,) = tmp_path.glob("default-clusters-*.json")
    results = json.loads(file.read_text())["results"]
    assert [(name, one["clusters"]) for name, one in results.items()] == [(SHIPPED, 2), ("4", 4)]
    for one in results.values():
        assert set(one["search"]) == set(one["engine"]) == {"1", "16", "64"}
        assert one["top1"]["words_scored"] <= one["top100"]["words_scored"] <= 280 + one["clusters"]
        for engine in one["engine"].values():
            assert engine["total"] > engine["topk"] > 0
            assert engine["body"] > 0
    # The old rows twice: twice the mass, so that every word of the short-list is less probable.
    assert results["4"]["perplexity"] != results[SHIPPED]["perplexity"]
    table = next(tmp_path.glob("default-clusters-*.md")).read_text()
    assert f"| 2, {SHIPPED} | {results[SHIPPED]['perplexity']:.2f} |" in table


def test_the_rule() -> None:
    def result(perplexity: float, *engine: float) -> dict[str, Any]:
        times = {str(b): {"total": us} for b, us in zip((1, 16, 64), engine, strict=True)}
        return {"perplexity": perplexity, "engine": times}

    base = result(100, 100, 100, 100)
    assert judge(result(100.4, 100, 94, 100), base)["replace"]
    assert judge(result(100.4, 100, 100, 94), base)["replace"]
    assert not judge(result(100.6, 100, 94, 94), base)["replace"]
    assert not judge(result(99, 90, 96, 96), base)["replace"]  # at one row alone it is not enough
    assert verdict({SHIPPED: base, "a": result(100, 9, 9, 9)}).endswith(": a.")
    assert verdict({SHIPPED: base}).endswith(": none.")


def test_turns_rotate_and_medians_are_taken() -> None:
    order: list[str] = []

    def candidate(name: str, scale: float) -> default_clusters.Timed:
        def run(turn: int) -> dict[str, float]:
            order.append(name)
            return {"body": scale * turn, "topk": 1.0}

        return run

    found = in_turn({"a": candidate("a", 1), "b": candidate("b", 10)}, 0)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert found["b"] == {"total": 16.0, "body": 15.0, "topk": 1.0}
