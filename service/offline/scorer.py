"""Scores texts in this process: tokens -> batches of similar length -> log-probabilities.

Simpler than the server's engine by design; see `service.offline.chunks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import torch
from torch import Tensor

from models.bundle import Bundle
from service.contract.numbers import log_sum_exp
from service.offline.chunks import STEPS, batches, run
from service.scoring.scored_text import ScoredText
from service.scoring.sentences import check_lines, sentences, tokens_of
from service.scoring.unknown_words import Unknown, UnknownWords

BATCH_TOKENS: Final = 4096


class Scorer:
    """Scores texts that all follow one context.

    Args:
        bundle: the model.
        context: read before each text, not scored.
        end_of_sentence: whether ``</s>`` is scored after each text.
        batch_tokens: words that are computed side by side at most.
        fast: whether the fast mode may answer (see `models.kernels.choice`).
        pretokenized: whether texts are words between white space; see `Vocabulary.tokenize_batch`.
        unknown: what unknown words cost, and with `unknown_penalty`; see `UnknownWords.of`.
        lines: whether each line of a text is a sentence; see `service.scoring.sentences`.
        ignore_case: whether a word's probability is that of its case variants together.

    Raises:
        ValueError: `context` is not valid Unicode.
        InvalidRequest: options that do not go together, or not with this bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        context: str = "",
        end_of_sentence: bool = True,
        batch_tokens: int = BATCH_TOKENS,
        fast: bool = False,
        pretokenized: bool = False,
        unknown: Unknown | None = None,
        unknown_penalty: float | None = None,
        lines: bool = False,
        ignore_case: bool = False,
    ) -> None:
        check_lines(lines, bool(context))
        self._unknown = UnknownWords.of(bundle, unknown, unknown_penalty)
        self._model, self._vocabulary = bundle.model, bundle.vocabulary
        self._batch_tokens, self._steps = batch_tokens, min(STEPS, batch_tokens)
        self._fast, self._pretokenized = fast, pretokenized
        self._end_of_sentence, self._lines, self._ignore_case = end_of_sentence, lines, ignore_case
        # The start word and the context are run once, not once a text.
        with torch.inference_mode():
            (history,) = tokens_of(self._vocabulary, [context], pretokenized, ignore_case)
            before = [self._vocabulary.start_id, *(token.id for token in history)]
            start = self._model.split_state(self._model.initial_state(1))
            for chunk in run(self._model, [before], start, self._steps, keep_states=True):
                self._hidden, (self._state,) = chunk.hidden[:, -1], chunk.states

    def score(
        self, texts: Sequence[str], on_batch: Callable[[float], None] = lambda share: None
    ) -> list[ScoredText]:
        """One result a text, in order. Without `end_of_sentence` a text without words has no token.

        `on_batch` is called after each batch with its share of the words, for progress.

        Raises:
            ValueError: a text is not valid Unicode.
        """
        found = sentences(
            self._vocabulary,
            texts,
            pretokenized=self._pretokenized,
            end_of_sentence=self._end_of_sentence,
            lines=self._lines,
            ignore_case=self._ignore_case,
        )
        targets = [[token.id for token in sentence] for one in found for sentence in one]
        total = sum(map(len, targets))
        logprobs: list[list[float]] = [[] for _ in targets]
        errors = [0.0] * len(targets)
        for batch in batches([len(row) - 1 for row in targets], self._batch_tokens):
            batch = [index for index in batch if targets[index]]
            if batch:
                rows = [targets[index] for index in batch]
                for index, values in zip(batch, self._logprobs(rows), strict=True):
                    logprobs[index] = [value for value, _ in values]
                    errors[index] = max(error for _, error in values)
                on_batch(sum(map(len, rows)) / total)
        results, at = [], 0
        for text, one in zip(texts, found, strict=True):
            part = slice(at, at := at + len(one))
            error = max(errors[part])
            results.append(ScoredText.of(text, one, logprobs[part], self._unknown, error, self._lines))
        return results

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
        """Log-probability and its error bound for each target, of its case variants together if asked for."""
        if not self._ignore_case:
            return self._logprobs_of(hidden, targets)
        variants = [self._vocabulary.case_variants(target) for target in targets.tolist()]
        rows = torch.tensor([row for row, ids in enumerate(variants) for _ in ids], device=hidden.device)
        wanted = torch.tensor([one for ids in variants for one in ids], device=hidden.device)
        apart = iter(self._logprobs_of(hidden[rows], wanted))
        found = []
        for ids in variants:
            values, errors = zip(*islice(apart, len(ids)), strict=True)
            found.append((log_sum_exp(values), max(errors)))
        return found

    def _logprobs_of(self, hidden: Tensor, targets: Tensor) -> list[tuple[float, float]]:
        if not self._fast:
            return [(value, 0.0) for value in self._model.target_logprobs(hidden, targets).tolist()]
        values, bounds = self._model.target_logprobs_bounded(hidden, targets)
        return list(zip(values.tolist(), bounds.tolist(), strict=True))
