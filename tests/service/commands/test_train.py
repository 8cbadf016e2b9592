"""`headfirst train`: from text to a bundle, in a temporary directory."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from models.bundle import Bundle
from models.spelling.spelling_model import SPELLING
from models.training.clusters import planning
from models.training.clusters.timing import Point
from service.commands.shared.clusters import bands_to
from service.commands.train import train

SIZES = [
    *("--vocabulary-size", "60", "--shortlist", "20", "--clusters", "4", "--bands", "8:36,4"),
    *("--hidden-size", "16", "--units", "24", "--projection", "16", "--rows", "4", "--window", "8"),
    *("--holdout-every", "10", "--checkpoint-every", "5", "--validate-every", "10", "--precision", "float32"),
]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(train)
    return app


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Text in which every word has one successor, so that a model has something to learn."""
    draw = random.Random(1)
    words = [f"w{i}" for i in range(70)]
    lines = []
    for _ in range(300):
        at = draw.randrange(70)
        lines.append(" ".join(words[(at + i) % 70] for i in range(12)))
    directory = tmp_path / "text"
    directory.mkdir()
    (directory / "a.txt").write_text("\n".join(lines[:150]))
    with lzma.open(directory / "b.txt.xz", "wt") as file:
        file.write("\n".join(lines[150:]))
    return directory


def test_a_trained_bundle_loads_and_has_a_card(app: typer.Typer, corpus: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Made up; CC0.")
    out = tmp_path / "model"
    result = CliRunner().invoke(
        app,
        [
            str(corpus),
            str(out),
            *SIZES,
            "--steps",
            "150",
            "--warmup",
            "10",
            "--learning-rate",
            "0.02",
            "--data-notes",
            str(notes),
        ],
    )
    assert result.exit_code == 0, result.stderr
    bundle = Bundle.load(out, "cpu")
    assert bundle.config.vocabulary_size == 60
    assert [(band.clusters, band.width) for band in bundle.config.bands] == [(2, 8), (2, 4)]
    assert bundle.dtype == "float16"
    card = (out / "README.md").read_text()
    assert "Made up; CC0." in card
    assert bundle.spelling is not None
    (row,) = [line for line in card.splitlines() if line.startswith("| held out |")]
    with_class, spelled = (float(cell) for cell in row.split("|")[-3:-1])
    assert 0 < with_class < spelled < 5
    assert "held-out perplexity" in result.stderr
    perplexity = float(result.stderr.rsplit("held-out perplexity ", 1)[1].split(",")[0])
    assert perplexity < 30  # 70 words in a circle: without learning it would be about 60


def test_the_same_seed_gives_the_same_model(app: typer.Typer, corpus: Path, tmp_path: Path) -> None:
    one, other, third = tmp_path / "one", tmp_path / "other", tmp_path / "third"
    for out, seed in ((one, "1"), (other, "1"), (third, "2")):
        arguments = [str(corpus), str(out), *SIZES, "--steps", "20", "--seed", seed]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert _weights(one) == _weights(other) != _weights(third)


def test_the_same_command_goes_on_from_the_checkpoint(app: typer.Typer, corpus: Path, tmp_path: Path) -> None:
    arguments = [str(corpus), str(tmp_path / "out"), *SIZES, "--steps", "20"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    weights, spelling = _weights(tmp_path / "out"), (tmp_path / "out" / SPELLING).read_bytes()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "resumed at step 20" in again.stderr
    assert _weights(tmp_path / "out") == weights
    assert (tmp_path / "out" / SPELLING).read_bytes() == spelling


def test_planned_cutoffs_are_measured_once(
    app: typer.Typer, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(sizes: list[tuple[int, int]], width: int, *_: object) -> list[Point]:
        measured.append(width)
        return [Point(k, batch, 1e-6 + 1e-7 * width * k * batch) for k, batch in sizes]

    monkeypatch.setattr(planning, "measure", measure)
    arguments = [str(corpus), str(tmp_path / "out"), *SIZES, "--cutoffs", "auto", "--steps", "2"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    config = Bundle.load(tmp_path / "out", "cpu").config
    assert config.n_clusters == 4
    assert config.cutoffs[0] >= 20
    assert sorted(measured) == [4, 8, 16]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert len(measured) == 3


def test_cutoffs_may_be_given(app: typer.Typer, corpus: Path, tmp_path: Path) -> None:
    arguments = [str(corpus), str(tmp_path / "out"), *SIZES, "--cutoffs", "10,30,60", "--steps", "2"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert Bundle.load(tmp_path / "out", "cpu").config.cutoffs == (10, 30, 60)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--output-layer", "full"], "softmax.head"),
        (["--output-layer", "full", "--sampled", "10"], "softmax.head"),
        (["--output-layer", "full", "--sampled", "10", "--biases"], "softmax.head_bias"),
        (["--biases", "--optimizer", "adagrad", "--learning-rate", "0.1"], "softmax.tail_biases.0"),
        (["--output-layer", "tree"], "softmax.tails.0"),
        (["--output-layer", "differentiated"], "softmax.band_tables.1"),
        (["--output-layer", "differentiated-projected"], "softmax.band_projections.1"),
    ],
)
def test_other_output_layers(
    app: typer.Typer, corpus: Path, tmp_path: Path, options: list[str], name: str
) -> None:
    arguments = [str(corpus), str(tmp_path / "out"), *SIZES, "--bands", "6:36,3", "--steps", "2", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    bundle = Bundle.load(tmp_path / "out", "cpu")
    assert name in bundle.model.state_dict()
    assert (bundle.config.cutoffs[0] == 0) == ("tree" in options)
    assert (tmp_path / "out" / "README.md").read_text().count("\n") > 20


def _weights(bundle: Path) -> bytes:
    return (bundle / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--vocabulary-size", "5000"], "distinct words"),
        (["--bands", "8,4"], "--bands must look like"),
        (["--bands", "x"], "--bands must look like"),
        (["--precision", "half"], "--precision must be"),
        (["--optimizer", "luck"], "--optimizer must be adam or adagrad"),
        (["--device", "abacus"], "device 'abacus'"),
        (["--shortlist", "59", "--clusters", "9"], "do not fit"),
        (["--cutoffs", "some"], "--cutoffs must be"),
        (["--cutoffs", "10,30"], "must be vocabulary_size (60)"),
        (["--cutoffs", "30,10,60"], "must ascend"),
        (["--rows", "4000"], "too few"),
        (["--data-notes", "nowhere.md"], "nowhere.md"),
    ],
)
def test_a_wrong_option_ends_in_one_line(
    app: typer.Typer, corpus: Path, tmp_path: Path, options: list[str], fault: str
) -> None:
    result = CliRunner().invoke(app, [str(corpus), str(tmp_path / "out"), *SIZES, "--steps", "2", *options])
    assert result.exit_code == 2
    assert fault in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_corpus_ends_in_one_line(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "none"), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no such file or directory" in " ".join(result.stderr.split())


def test_bands_hold_the_clusters_that_end_by_their_rank() -> None:
    bands = bands_to("128:100,64:200,16", (50, 90, 100, 150, 400))
    assert [(band.clusters, band.width) for band in bands] == [(2, 128), (1, 64), (1, 16)]
    assert bands_to("128:60,16", (50, 90, 400)) == bands_to("16", (50, 90, 400))
    assert bands_to("128:60,16", (50,)) == ()
