"""Predicts next words in this process: texts -> batches of similar length -> the k best words.

Simpler than the server's engine by design; see `service.offline.chunks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import torch

from models.bodies.base import RowState
from models.bundle import Bundle
from models.softmax.topk import NO_WORD
from models.text.candidates import ANY, Candidates
from service.contract.answers import predict_result, predicted_word
from service.contract.numbers import DIGITS
from service.offline.chunks import batches, run

BATCH_TOKENS: Final = 4096
SEARCH_ELEMENTS: Final = 1 << 22
"""Rows times words of one search, at most."""


@dataclass(frozen=True, slots=True)
class PredictedText:
    """The most probable next words, best first, natural logarithms; `clusters` were opened to find them."""

    ids: list[int]
    words: list[str]
    logprobs: list[float]
    clusters: list[int]
    context_words: int
    unknown_words: int
    error: float = 0.0
    """The most by which a log-probability may be off."""
    completions: list[str] | None = None
    """What replaces the prefix, a word; None without one."""

    def result(self) -> dict[str, Any]:
        """The result as ``/v1/predict`` answers it."""
        completions = self.completions or repeat(None, len(self.words))
        words = list(map(predicted_word, self.words, self.logprobs, completions))
        return predict_result(words, self.context_words, self.unknown_words, self.error)


class Predictor:
    """Finds next words. The whole text is read, however long it is.

    Args:
        bundle: the model.
        k: 1 or more; more than the vocabulary has words means all of them.
        among: which words may be answered.
        fast: whether the fast mode may answer (see `models.kernels.choice`).
        pretokenized: whether texts are words between white space; see `Vocabulary.tokenize_batch`.
    """

    def __init__(
        self,
        bundle: Bundle,
        k: int = 10,
        among: Candidates = ANY,
        fast: bool = False,
        pretokenized: bool = False,
    ) -> None:
        self._model, self._vocabulary = bundle.model, bundle.vocabulary
        self._k = min(k, len(self._vocabulary))
        self._among, self._excluded = among, frozenset(among.exclude)
        # So many best words hold k others, whichever of them are excluded.
        self._fetched = min(k + len(self._excluded), len(self._vocabulary))
        self._fast, self._pretokenized = fast, pretokenized
        self._allowed = self._find_allowed(bundle) if among.prefix or among.words_only else None
        self._rows = max(1, SEARCH_ELEMENTS // max(self._fetched, 4096))

    def _find_allowed(self, bundle: Bundle) -> torch.Tensor:
        among = self._among
        ids = self._vocabulary.starting_with(among.prefix or "", among.ignore_case, among.words_only)
        return ids.to(bundle.device)

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> list[PredictedText]:
        """One result a text, in order. Raises ValueError for a text that is not valid Unicode."""
        start_id = self._vocabulary.start_id
        contexts = [
            [start_id, *tokens, *self._among.before]
            for tokens in self._vocabulary.encode_batch(texts, self._pretokenized)
        ]
        found: dict[int, PredictedText] = {}
        (start,) = self._model.split_state(self._model.initial_state(1))
        for batch in batches([len(row) for row in contexts], BATCH_TOKENS):
            for i in range(0, len(batch), self._rows):
                part = batch[i : i + self._rows]
                rows = [contexts[index] for index in part]
                found |= zip(part, self._predict(rows, start), strict=True)
        return [found[index] for index in range(len(texts))]

    def _predict(self, rows: list[list[int]], start: RowState) -> list[PredictedText]:
        """The results of `rows`, which come the longest first."""
        last: dict[int, torch.Tensor] = {}
        for chunk in run(self._model, rows, [start] * len(rows)):
            for row, count in enumerate(chunk.lengths.tolist()):
                if chunk.start + count == len(rows[row]):
                    last[row] = chunk.hidden[row, count - 1]
        hidden = torch.stack([last[row] for row in range(len(rows))])
        allowed = None if self._allowed is None else [self._allowed] * len(rows)
        if self._fast:
            best, bound = self._model.topk_bounded(hidden, self._fetched, allowed)
        else:
            best, bound = self._model.topk(hidden, self._fetched, allowed), torch.zeros(len(rows))
        columns = (best.ids, best.logprobs, best.expanded, bound)
        return [
            self._result(row[1:], *one)
            for row, *one in zip(rows, *(column.tolist() for column in columns), strict=True)
        ]

    def _result(
        self, context: list[int], ids: list[int], logprobs: list[float], expanded: list[bool], error: float
    ) -> PredictedText:
        pairs = [(word, round(value, DIGITS)) for word, value in zip(ids, logprobs, strict=True)]
        pairs = [pair for pair in pairs if pair[0] != NO_WORD and pair[0] not in self._excluded][: self._k]
        words = [self._vocabulary.word(word) for word, _ in pairs]
        typed = self._among.typed
        return PredictedText(
            [word for word, _ in pairs],
            words,
            [value for _, value in pairs],
            [cluster for cluster, opened in enumerate(expanded) if opened],
            len(context),
            context.count(self._vocabulary.unknown_id),
            error,
            None if typed is None else list(map(typed.completion, words)),
        )
