"""Perplexity of a model on text, each line on its own from the start state, as the server scores it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from models.language_model import LanguageModel
from models.spelling.spelling_model import SpellingModel
from models.training.corpus import Tokens
from models.training.spelling import log_probability

BATCH_TOKENS = 8192
STEP = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Sums over a text; `words` counts one ``</s>`` a line, `unknown` the words that are ``<unk>``."""

    words: int
    lines: int
    unknown: int
    log_probability: float

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability a word."""
        return math.exp(-self.log_probability / self.words)

    @property
    def unknown_rate(self) -> float:
        """Unknown words as a share of the words proper (without ``</s>``)."""
        return self.unknown / max(1, self.words - self.lines)


@dataclass(frozen=True, slots=True)
class BitsPerCharacter:
    """The cost of a text a character, which does not depend on how the text is cut into words.

    `with_class` counts an unknown word with the probability of all of them together, which leaves its
    characters unpaid; `spelled` pays for every one, and is None without a spelling model.
    """

    with_class: float
    spelled: float | None

    @classmethod
    def of(
        cls, text: Evaluation, characters: int, unknown: Mapping[str, int], spelling: SpellingModel | None
    ) -> BitsPerCharacter:
        """Those of a text of so many `characters` (see `models.training.corpus.characters`).

        `unknown`: its unknown words in the vocabulary's form, and how often each comes.
        """
        bit = -math.log(2) * characters
        return cls(
            text.log_probability / bit,
            None if spelling is None else (text.log_probability + log_probability(spelling, unknown)) / bit,
        )


def split_lines(tokens: Tokens, end_id: int) -> list[Tokens]:
    """The lines of a token stream, each with its ``</s>``."""
    return [line for line in np.split(tokens, np.flatnonzero(tokens == end_id) + 1) if len(line)]


@torch.inference_mode()
def evaluate(model: LanguageModel, lines: list[Tokens], end_id: int, unknown_id: int) -> Evaluation:
    """Score every line (tokens that end in `end_id`) from the start state."""
    total = 0.0
    for hidden, targets in hidden_rows(model, lines, end_id):
        total += model.target_logprobs(hidden, targets).double().sum().item()
    every = np.concatenate(lines)
    return Evaluation(len(every), len(lines), int((every == unknown_id).sum()), total)


@torch.inference_mode()
def hidden_rows(
    model: LanguageModel, lines: list[Tokens], end_id: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Hidden rows (N, d) and the words that follow them (N,), of all lines in some order.

    Each line (tokens that end in `end_id`) runs from the start state; every word of it is a target once.
    """
    for batch in _batches(sorted(lines, key=len)):
        targets = torch.full((len(batch), len(batch[-1])), -1, dtype=torch.int64)
        for row, line in zip(targets, batch, strict=True):
            row[: len(line)] = torch.from_numpy(line.astype(np.int64))
        inputs = torch.cat([torch.full((len(batch), 1), end_id), targets[:, :-1].clamp(min=0)], 1)
        state = model.initial_state(len(batch))
        for x, y in zip(torch.split(inputs, STEP, 1), torch.split(targets, STEP, 1), strict=True):
            y = y.to(model.device)
            scored = y >= 0
            lengths = scored.sum(1).clamp(min=1).cpu()
            hidden, state = model.encode(x.to(model.device), lengths, state)
            yield hidden[scored], y[scored]


def _batches(lines: list[Tokens]) -> Iterator[list[Tokens]]:
    batch: list[Tokens] = []
    for line in lines:
        if batch and (len(batch) + 1) * min(len(line), STEP) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(line)
    if batch:
        yield batch
