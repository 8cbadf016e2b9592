"""Scores texts in this process: tokens -> batches of similar length -> log-probabilities.

Simpler than the server's engine by design; see `service.offline.chunks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from models.bundle import Bundle
from models.text.vocabulary import Token
from service.contract.answers import score_result, scored_words
from service.contract.numbers import DIGITS, perplexity
from service.offline.chunks import STEPS, batches, run

BATCH_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A text's scored tokens, ``</s>`` among them if asked for, and a log-probability each.

    Natural logarithms, rounded to six digits: their sum is the sum that a reader of the output gets.
    """

    tokens: list[Token]
    logprobs: list[float]
    unknown_words: int
    unknown_id: int
    error: float = 0.0
    """The most by which one of the log-probabilities may be off."""

    @property
    def logprob(self) -> float:
        """Log-probability of the whole text; 0 without words."""
        return round(math.fsum(self.logprobs), DIGITS)

    @property
    def perplexity(self) -> float:
        """exp(-logprob / words); infinite where it exceeds a double, NaN without words."""
        return perplexity(self.logprob, len(self.logprobs))

    def result(self, per_word: bool) -> dict[str, Any]:
        """The result as ``/v1/score`` answers it."""
        words = scored_words(self.tokens, self.logprobs, self.unknown_id) if per_word else None
        return score_result(self.logprob, len(self.tokens), self.unknown_words, self.error, words)


class Scorer:
    """Scores texts that all follow one context.

    Args:
        bundle: the model.
        context: read before each text, not scored.
        end_of_sentence: whether ``</s>`` is scored after each text.
        batch_tokens: words that are computed side by side at most.
        fast: whether the fast mode may answer (see `models.kernels.choice`).
        pretokenized: whether texts are words between white space; see `Vocabulary.tokenize_batch`.

    Raises:
        ValueError: `context` is not valid Unicode.
    """

    def __init__(
        self,
        bundle: Bundle,
        context: str = "",
        end_of_sentence: bool = True,
        batch_tokens: int = BATCH_TOKENS,
        fast: bool = False,
        pretokenized: bool = False,
    ) -> None:
        self._model, self._vocabulary = bundle.model, bundle.vocabulary
        self._batch_tokens, self._steps = batch_tokens, min(STEPS, batch_tokens)
        self._fast, self._pretokenized = fast, pretokenized
        self._end_of_sentence = end_of_sentence
        # The start word and the context are run once, not once a text.
        with torch.inference_mode():
            (history,) = self._vocabulary.encode_batch([context], pretokenized)
            before = [self._vocabulary.start_id, *history]
            start = self._model.split_state(self._model.initial_state(1))
            for chunk in run(self._model, [before], start, self._steps, keep_states=True):
                self._hidden, (self._state,) = chunk.hidden[:, -1], chunk.states

    def score(
        self, texts: Sequence[str], on_batch: Callable[[float], None] = lambda share: None
    ) -> list[ScoredText]:
        """One result a text, in order. In a text without words not even ``</s>`` is scored.

        `on_batch` is called after each batch with its share of the words, for progress.

        Raises:
            ValueError: a text is not valid Unicode.
        """
        texts_tokens = [
            [*tokens, self._vocabulary.end_of(text)] if tokens and self._end_of_sentence else tokens
            for text, tokens in zip(
                texts, self._vocabulary.tokenize_batch(texts, self._pretokenized), strict=True
            )
        ]
        targets = [[token.id for token in tokens] for tokens in texts_tokens]
        total = sum(map(len, targets))
        logprobs: list[list[float]] = [[] for _ in targets]
        errors = [0.0] * len(targets)
        for batch in batches([len(row) - 1 for row in targets], self._batch_tokens):
            batch = [index for index in batch if targets[index]]
            if batch:
                rows = [targets[index] for index in batch]
                for index, values in zip(batch, self._logprobs(rows), strict=True):
                    logprobs[index] = [round(value, DIGITS) for value, _ in values]
                    errors[index] = max(error for _, error in values)
                on_batch(sum(map(len, rows)) / total)
        unknown_id = self._vocabulary.unknown_id
        return [
            ScoredText(tokens, values, ids.count(unknown_id), unknown_id, error)
            for tokens, ids, values, error in zip(texts_tokens, targets, logprobs, errors, strict=True)
        ]

    @torch.inference_mode()
    def _logprobs(self, rows: Sequence[list[int]]) -> list[list[tuple[float, float]]]:
        """Log-probability and its error bound, for every word of `rows`, which come the longest first."""
        model, device = self._model, self._model.device
        first = torch.tensor([row[0] for row in rows], device=device)
        found = [[pair] for pair in self._target_logprobs(self._hidden.expand(len(rows), -1), first)]
        inputs = [row[:-1] for row in rows if len(row) > 1]
        for chunk in run(model, inputs, [self._state] * len(inputs), self._steps):
            counts = chunk.lengths.tolist()
            wanted = [
                word
                for row, count in zip(rows, counts, strict=False)
                for word in row[chunk.start + 1 : chunk.start + 1 + count]
            ]
            inside = torch.arange(chunk.hidden.shape[1]) < chunk.lengths[:, None]
            hidden = chunk.hidden[inside.to(device)]
            values = self._target_logprobs(hidden, torch.tensor(wanted, device=device))
            at = 0
            for row_values, count in zip(found, counts, strict=False):
                row_values += values[at : at + count]
                at += count
        return found

    def _target_logprobs(self, hidden: Tensor, targets: Tensor) -> list[tuple[float, float]]:
        if not self._fast:
            return [(value, 0.0) for value in self._model.target_logprobs(hidden, targets).tolist()]
        values, bounds = self._model.target_logprobs_bounded(hidden, targets)
        return list(zip(values.tolist(), bounds.tolist(), strict=True))
