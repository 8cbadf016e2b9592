"""Training: it learns, repeats itself for a seed, resumes to the bit, and stops when it cannot go on."""

from __future__ import annotations

import json
import math
import platform
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.config.bodies import LSTMConfig, TransformerConfig
from models.config.model import Band, ModelConfig
from models.training.clusters.cutoffs import geometric_cutoffs
from models.training.corpus import Corpus, CorpusOptions, prepare
from models.training.memory import keep_memory
from models.training.trainer import Trainer, TrainingError, TrainingOptions, Windows

CONFIG = ModelConfig(
    vocabulary_size=44,
    hidden_size=16,
    cutoffs=(12, 20, 30, 44),
    bands=(Band(clusters=1, width=8), Band(clusters=2, width=4)),
    body=LSTMConfig(layers=1, units=24, projection=16),
)

OPTIONS = TrainingOptions(
    steps=12,
    rows=4,
    window=8,
    learning_rate=1e-2,
    warmup=3,
    dropout=0.2,
    validate_every=50,
    checkpoint_every=5,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Lines that count upwards from a random word: the next word is certain."""
    directory = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    starts = [draw.randrange(42) for _ in range(200)]
    text = "\n".join(" ".join(f"w{(start + i) % 42}" for i in range(9)) for start in starts)
    (directory / "a.txt").write_text(text)
    return prepare([directory / "a.txt"], directory, CorpusOptions(vocabulary_size=44, holdout_every=20))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def run(trainer: Trainer, steps: int | None = None) -> list[float]:
    return [progress.loss for progress in islice(trainer.run(), steps)]


# -- learning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns(corpus: Corpus, tmp_path: Path, precision: str) -> None:
    options = replace(OPTIONS, steps=150, dropout=0.0, validate_every=50, precision=precision)
    trainer = Trainer(CONFIG, corpus, options, tmp_path)
    progress = list(trainer.run())
    validations = [(p.step, p.validation.perplexity) for p in progress if p.validation is not None]
    assert [step for step, _ in validations] == [50, 100, 150]
    assert validations[-1][1] < validations[0][1]
    assert progress[-1].loss < 0.6 * progress[0].loss
    # The first word of a line is a guess among 42, the others are certain.
    assert validations[-1][1] < 6
    assert all(p.words == 32 and p.seconds > 0 for p in progress)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_band_of_width_0_is_trained_and_kept(
    corpus: Corpus, tmp_path: Path, precision: str, tied: bool
) -> None:
    """Its words stay equally likely within their clusters, whose own probability is learned."""
    bands = (Band(clusters=1, width=8), Band(clusters=2, width=0))
    config = CONFIG.model_copy(update={"bands": bands, "tied": tied})
    trainer = Trainer(config, corpus, replace(OPTIONS, steps=40, precision=precision), tmp_path)
    losses = run(trainer)
    assert losses[-1] < losses[0]
    trainer.save()
    resumed = Trainer(config, corpus, replace(OPTIONS, steps=40, precision=precision), tmp_path)
    assert resumed.resume()
    assert same(weights(resumed), weights(trainer))
    model = trainer.model.eval().requires_grad_(False)
    Bundle.save(tmp_path / "bundle", model, corpus.vocabulary, dtype=torch.float32)
    loaded = Bundle.load(tmp_path / "bundle", "cpu").model
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    logprobs = loaded.softmax.log_prob(hidden)
    torch.testing.assert_close(logprobs, model.softmax.log_prob(hidden))
    for low, high in ((20, 30), (30, 44)):
        assert torch.equal(logprobs[:, low:high], logprobs[:, low, None].expand(-1, high - low))
    torch.testing.assert_close(loaded.topk(hidden, 44).logprobs[:, 0], logprobs[:, 1:].max(1).values)


def test_a_seed_repeats_a_run(corpus: Corpus, tmp_path: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        trainer = Trainer(CONFIG, corpus, replace(OPTIONS, seed=seed), tmp_path)
        runs.append((run(trainer), weights(trainer)))
    (losses, one), (losses_again, again), (other_losses, other) = runs
    assert losses == losses_again
    assert same(one, again)
    assert losses[0] != other_losses[0]
    assert not same(one, other)


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    options = TrainingOptions(steps=100, learning_rate=1.0, warmup=10, cooldown=0.2)
    rates = [options.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert all(low > high > 0 for low, high in pairwise(rates[80:]))
    assert rates[-1] == pytest.approx(1 / 20)
    flat = TrainingOptions(steps=5, learning_rate=1.0, warmup=0, cooldown=0.0)
    assert [flat.rate(step) for step in range(5)] == [1.0] * 5


def test_progress_tells_the_rate_of_each_step(corpus: Corpus, tmp_path: Path) -> None:
    progress = list(Trainer(CONFIG, corpus, OPTIONS, tmp_path).run())
    assert [p.step for p in progress] == list(range(1, 13))
    assert [p.rate for p in progress] == [OPTIONS.rate(step) for step in range(12)]


def test_keeping_memory_changes_no_number(corpus: Corpus, tmp_path: Path) -> None:
    before = Trainer(CONFIG, corpus, OPTIONS, tmp_path)
    losses = run(before)
    assert keep_memory() == (sys.platform == "linux" and bool(platform.libc_ver()[0]))
    (tmp_path / "after").mkdir()
    after = Trainer(CONFIG, corpus, OPTIONS, tmp_path / "after")
    assert run(after) == losses
    assert same(weights(before), weights(after))


# -- checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    corpus: Corpus, tmp_path: Path, optimizer: str
) -> None:
    options = replace(OPTIONS, optimizer=optimizer)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = Trainer(CONFIG, corpus, options, tmp_path / "whole")
    losses = run(whole)

    stopped = Trainer(CONFIG, corpus, options, tmp_path / "parts")
    assert not stopped.resume()
    assert run(stopped, 7) == losses[:7]
    resumed = Trainer(CONFIG, corpus, options, tmp_path / "parts")
    assert resumed.resume()
    assert resumed.step == 5
    assert run(resumed) == losses[5:]
    assert same(weights(whole), weights(resumed))
    assert all(map(torch.equal, whole.state, resumed.state))

    finished = Trainer(CONFIG, corpus, options, tmp_path / "parts")
    assert finished.resume()
    assert run(finished) == []
    assert same(weights(whole), weights(finished))


def test_a_finished_run_can_be_continued(corpus: Corpus, tmp_path: Path) -> None:
    run(Trainer(CONFIG, corpus, OPTIONS, tmp_path))
    longer = Trainer(CONFIG, corpus, replace(OPTIONS, steps=15), tmp_path)
    assert longer.resume()
    assert len(run(longer)) == 3


@pytest.mark.parametrize(
    ("config", "options", "differing"),
    [
        ({"tied": False}, {}, "config"),
        ({}, {"rows": 5}, "rows"),
        ({}, {"window": 9}, "window"),
        ({}, {"seed": 2}, "seed"),
        ({}, {"optimizer": "adagrad"}, "optimizer"),
        ({"tail_bias": True}, {"rows": 5, "seed": 2}, "config, rows, seed"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    corpus: Corpus, tmp_path: Path, config: dict[str, Any], options: dict[str, Any], differing: str
) -> None:
    Trainer(CONFIG, corpus, OPTIONS, tmp_path).save()
    other = Trainer(CONFIG.model_copy(update=config), corpus, replace(OPTIONS, **options), tmp_path)
    before = weights(other)
    with pytest.raises(TrainingError, match=f"checkpoint.pt is of a run with other {differing}$"):
        other.resume()
    assert same(before, weights(other))


def test_a_checkpoint_from_before_a_field_existed_goes_on(corpus: Corpus, tmp_path: Path) -> None:
    old = Trainer(CONFIG, corpus, OPTIONS, tmp_path)
    fields = json.loads(old.identity["config"])  # type: ignore[arg-type]
    del fields["output_slices"], old.identity["optimizer"]
    old.identity["config"] = json.dumps(fields)
    old.save()
    assert Trainer(CONFIG, corpus, OPTIONS, tmp_path).resume()


def test_a_checkpoint_of_another_text_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    Trainer(CONFIG, corpus, OPTIONS, tmp_path).save()
    other = Trainer(CONFIG, replace(corpus, train=corpus.train[:-10]), OPTIONS, tmp_path)
    with pytest.raises(TrainingError, match=r"is of a run with other words$"):
        other.resume()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "damage", [cut, lambda path: path.write_bytes(b""), lambda path: path.write_text("text"),
               lambda path: torch.save([1], path)],
    ids=["cut", "empty", "text", "something else"],
)  # fmt: skip
def test_a_broken_checkpoint_is_named(
    corpus: Corpus, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    Trainer(CONFIG, corpus, OPTIONS, tmp_path).save()
    damage(tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a checkpoint"):
        Trainer(CONFIG, corpus, OPTIONS, tmp_path).resume()


def test_a_loss_that_is_no_number_stops_training_and_leaves_the_checkpoint(
    corpus: Corpus, tmp_path: Path
) -> None:
    trainer = Trainer(CONFIG, corpus, OPTIONS, tmp_path)
    run(trainer, 5)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    with torch.no_grad():
        trainer.model.softmax.head[0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 5: lower the learning rate$"):
        run(trainer)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good


# -- windows -------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 400))
def test_windows_cover_the_text(rows: int, window: int, more: int) -> None:
    tokens = np.arange(rows * window + window + 1 + more, dtype=np.uint32)
    windows = Windows(tokens, rows, window)
    for epoch in range(3):
        seen: list[int] = []
        previous = None
        for step in range(epoch * windows.an_epoch, (epoch + 1) * windows.an_epoch):
            inputs, targets = windows[step]
            assert inputs.shape == targets.shape == (rows, window)
            assert inputs.dtype == targets.dtype == torch.int64
            assert torch.equal(targets, inputs + 1)
            if previous is not None:  # a row goes on where it stopped
                assert torch.equal(inputs[:, 0], previous)
            previous = targets[:, -1]
            seen += targets.flatten().tolist()
        assert len(set(seen)) == len(seen)
        # What is left out is less than a window a row, and a window for the epochs' shifts.
        assert len(tokens) - len(seen) <= rows * window + window + 1


def test_no_other_body_than_an_lstm_is_trained(corpus: Corpus, tmp_path: Path) -> None:
    body = TransformerConfig(layers=1, units=16, heads=2, inner=16, window=8)
    config = CONFIG.model_copy(update={"body": body})
    with pytest.raises(TrainingError, match=r"^no training of a transformer body, of lstm alone$"):
        Trainer(config, corpus, OPTIONS, tmp_path)


def test_too_little_text_for_the_windows() -> None:
    with pytest.raises(TrainingError, match=r"^24 words of text are too few for 2 rows of 8-word windows$"):
        Windows(np.zeros(24, dtype=np.uint32), 2, 8)
    assert Windows(np.zeros(25, dtype=np.uint32), 2, 8).an_epoch == 1


# -- cutoffs -------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(0, 100), st.integers(0, 3000))
def test_geometric_cutoffs(shortlist: int, clusters: int, more: int) -> None:
    size = shortlist + clusters * 8 + more if clusters else shortlist
    cutoffs = geometric_cutoffs(size, shortlist, clusters)
    assert (cutoffs[0], cutoffs[-1], len(cutoffs)) == (shortlist, size, clusters + 1)
    assert all(low < high for low, high in pairwise(cutoffs))


def test_geometric_cutoffs_are_in_geometric_progression() -> None:
    assert geometric_cutoffs(16000, 1000, 4) == (1000, 2000, 4000, 8000, 16000)


def test_more_clusters_than_words() -> None:
    with pytest.raises(ValueError, match="5 clusters do not fit between 10 and 12 words"):
        geometric_cutoffs(12, 10, 5)
