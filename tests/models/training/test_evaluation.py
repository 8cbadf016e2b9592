"""Perplexity of lines, each on its own from the start state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.training import evaluation
from models.training.evaluation import Evaluation, evaluate, split_lines
from tests.support.tiny import tiny_model

UNKNOWN, END = 0, 1


def random_lines(lengths: list[int]) -> list[np.ndarray]:
    draw = np.random.default_rng(1)
    return [np.append(draw.integers(2, 280, n), END).astype(np.uint32) for n in lengths]


@torch.inference_mode()
def plain_logprob(line: np.ndarray) -> float:
    model = tiny_model()
    inputs = torch.tensor([[END, *line[:-1].tolist()]])
    hidden, _ = model.encode(inputs, torch.tensor([len(line)]), model.initial_state(1))
    table = model.softmax.log_prob(hidden[0]).double()
    return float(table[torch.arange(len(line)), torch.from_numpy(line.astype(np.int64))].sum())


@pytest.mark.parametrize(("batch_tokens", "step"), [(8192, 256), (64, 5), (1, 3), (8192, 1)])
def test_lines_are_scored_as_if_alone(monkeypatch: pytest.MonkeyPatch, batch_tokens: int, step: int) -> None:
    monkeypatch.setattr(evaluation, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(evaluation, "STEP", step)
    lines = random_lines([3, 0, 17, 5, 5, 1, 12])
    lines[2][[4, 9]] = UNKNOWN
    found = evaluate(tiny_model(), lines, END, UNKNOWN)
    assert (found.words, found.lines, found.unknown) == (50, 7, 2)
    assert found.log_probability == pytest.approx(sum(map(plain_logprob, lines)), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(-found.log_probability / 50))
    assert found.unknown_rate == pytest.approx(2 / 43)


def test_a_line_much_longer_than_a_batch() -> None:
    (line,) = random_lines([9000])
    found = evaluate(tiny_model(), [line], END, UNKNOWN)
    assert found.words == 9001
    assert found.log_probability == pytest.approx(plain_logprob(line), rel=1e-5)


def test_perplexity_of_certainty_and_of_chance() -> None:
    assert Evaluation(words=10, lines=1, unknown=0, log_probability=0.0).perplexity == 1.0
    chance = Evaluation(words=10, lines=1, unknown=0, log_probability=-10 * math.log(7))
    assert chance.perplexity == pytest.approx(7)
    assert Evaluation(words=3, lines=3, unknown=0, log_probability=0.0).unknown_rate == 0.0


def test_split_lines() -> None:
    tokens = np.array([5, 6, 1, 1, 7, 1, 8], dtype=np.uint32)
    assert [line.tolist() for line in split_lines(tokens, END)] == [[5, 6, 1], [1], [7, 1], [8]]
    assert split_lines(tokens[:0], END) == []
