"""`headfirst cutoffs`: recommends what `headfirst train` takes, and draws it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from models.training.clusters import planning
from models.training.clusters.timing import Point, TimeModel, TimeModels
from service.commands.shared.clusters import bands_to
from tests.support.commands import refusal, run
from tests.support.tiny import tiny_bundle, tiny_words


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Words with frequencies like those of a language."""
    draw = random.Random(1)
    words = [word for word in tiny_words(200) if word.isalpha()]
    weights = [1 / (i + 1) for i in range(len(words))]
    lines = [" ".join(draw.choices(words, weights, k=9)) for _ in range(600)]
    path = tmp_path / "text.txt"
    path.write_text("\n".join([*lines, " ".join(words)]))
    return path


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose times are known."""

    def measure(
        sizes: list[tuple[int, int]], width: int, *others: object, on_point: object = None
    ) -> list[Point]:
        return [Point(k, batch, 1e-6 + 1e-9 * width * max(k * batch, 256)) for k, batch in sizes]

    def measure_serving(d: int, widths: list[int], *_: object) -> tuple[TimeModel, TimeModels]:
        tails = {w: TimeModel(1e-7, 1e-9 * w, 0) for w in widths}
        points = {w: [Point(n, 1, float(g(n, 1))) for n in (16, 64)] for w, g in tails.items()}
        return TimeModel(1e-6, 1e-9 * d, 0), TimeModels(tails, points)

    monkeypatch.setattr(planning, "measure", measure)
    monkeypatch.setattr(planning, "measure_serving", measure_serving)


def recommended(output: str) -> tuple[tuple[int, ...], str]:
    found = re.search(r"^headfirst train --cutoffs (\S+) --bands (\S+)$", output, re.MULTILINE)
    assert found, output
    return tuple(map(int, found[1].split(","))), found[2]


def test_for_training(corpus: Path, tmp_path: Path) -> None:
    charts = tmp_path / "charts"
    result = run(
        "cutoffs", corpus, "--vocabulary-size", 120, "--hidden-size", 32, "--batch", 64, "--charts", charts
    )
    assert result.exit_code == 0, result.stderr
    cutoffs, bands = recommended(result.stdout)
    assert cutoffs[-1] == 120
    assert [band.width for band in bands_to(bands, cutoffs)] == [8, 4, 4, 4, 4, 4][: len(cutoffs) - 1]
    assert "median error" in result.stdout
    assert {file.name for file in charts.iterdir()} == {"clusters-training.svg", "g-training.svg"}


def test_so_many_clusters_as_asked_for(corpus: Path) -> None:
    options = ("--vocabulary-size", 120, "--hidden-size", 32, "--shortlist", 15, "--bands", "16:60,8")
    cutoffs, bands = recommended(run("cutoffs", corpus, *options, "--clusters", 5).stdout)
    assert len(cutoffs) == 6
    assert cutoffs[0] >= 15
    assert 60 in cutoffs
    assert bands == "16:60,8"


@pytest.mark.parametrize("words", [(), ("--words",)])
def test_for_serving(corpus: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    model = tiny_bundle(tmp_path)
    result = run(
        "cutoffs", corpus, "--model", model, "--for", "serving", "--device", "cpu", "--rows", 100, *words
    )
    assert result.exit_code == 0, result.stderr
    cutoffs, bands = recommended(result.stdout)
    assert cutoffs[-1] == 280
    assert cutoffs[0] >= 40
    assert [band.width for band in bands_to(bands, cutoffs)] == [16, 8]
    assert ("predicted words" in result.stdout) == bool(words)


def test_refusals(corpus: Path, tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path)
    for options, fault in [
        (["--for", "serving"], "--for serving needs --model"),
        (["--precision", "half"], "--precision must be"),
        (["--vocabulary-size", 5000], "distinct words"),
        (["--bands", "8,4", "--vocabulary-size", 100], "--bands must look like"),
        (["--vocabulary-size", 100, "--clusters", 500], "500"),
        (["--for", "serving", "--model", model, "-k", 280], "-k must not be more"),
        (["--for", "serving", "--model", tmp_path / "none"], "no such directory"),
    ]:
        assert fault in refusal(run("cutoffs", corpus, "--device", "cpu", *options))
    assert "no such file" in refusal(run("cutoffs", tmp_path / "none.txt"))
