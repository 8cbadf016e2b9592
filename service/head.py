"""Hidden rows -> answers: one search for all rows that ask for words, one look-up for all that ask for
scores."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from models.bundle import Bundle
from service.body import Part
from service.messages import Predict
from service.sequence import Sequence

K_BUCKETS = (16, 128, 1024)
"""Rows whose k lies between the same two are searched together, so that no row pays for another's k =
1000."""
TOPK_ELEMENTS = 1 << 22
"""Rows times k of one search at most."""
PREFIXES = 1024
"""Prefixes whose words are remembered."""


@dataclass(slots=True)
class Words:
    """What a search found for one row: words, best first, and the tail clusters opened for them."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    clusters: tuple[int, ...]


class Head:
    """The adaptive softmax as the engine uses it."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model
        self._device = bundle.device
        self._vocabulary = bundle.vocabulary
        # Bounded by nature, too: the prefixes of one length have no more words than the vocabulary.
        self._starting_with = lru_cache(PREFIXES)(self._find_starting_with)

    def predict(self, parts: Many[Part]) -> list[tuple[Sequence, Words]]:
        """The words that are asked for after each sequence which completes in its slice."""
        rows, asking = [], []
        for part in parts:
            completing = [row for row, piece in enumerate(part.slices) if piece.completes]
            rows.append(_rows(part.last(), completing))
            asking += [part.slices[row].sequence for row in completing]
        hidden = torch.cat(rows)
        messages = [sequence.jobs[0].message for sequence in asking]
        found = self._search([message for message in messages if isinstance(message, Predict)], hidden)
        return list(zip(asking, found, strict=True))

    def _search(self, messages: list[Predict], hidden: Tensor) -> list[Words]:
        """The words for each message's row of `hidden` (B, d)."""
        found: dict[int, Words] = {}
        for rows in self._alike(messages):
            asked = [messages[row] for row in rows]
            ks = [min(message.k, len(self._vocabulary)) for message in asked]
            allowed = [self._starting_with(message.prefix) for message in asked if message.prefix]
            top = self._model.topk(_rows(hidden, rows), ks, allowed or None)
            clusters: list[list[int]] = [[] for _ in rows]
            for row, cluster in top.expanded.nonzero().tolist():
                clusters[row].append(cluster)
            for row, k, ids, logprobs, opened in zip(
                rows, ks, top.ids.tolist(), top.logprobs.tolist(), clusters, strict=True
            ):
                n = k if ids[k - 1] >= 0 else ids.index(-1)  # Fewer words than k end in -1.
                found[row] = Words(tuple(ids[:n]), tuple(logprobs[:n]), tuple(opened))
        return [found[row] for row in range(len(messages))]

    def score(self, parts: Many[Part]) -> list[tuple[Sequence, list[float]]]:
        """The log-probabilities of each slice's targets: token i of a sequence after its hidden row i."""
        counts: list[tuple[Sequence, int]] = []
        rows: list[Tensor] = []
        targets: list[int] = []
        for part in parts:
            width = part.steps + 1
            index: list[int] = []
            for row, piece in enumerate(part.slices):
                sequence = piece.sequence
                low = max(sequence.position, sequence.unscored)
                high = len(sequence.tokens) if piece.completes else piece.end
                first = row * width - sequence.position
                index += range(first + low, first + high)
                targets += sequence.tokens[low:high]
                counts.append((sequence, max(0, high - low)))
            rows.append(_rows(part.shifted(), index))
        if not targets:
            return [(sequence, []) for sequence, _ in counts]
        values = iter(
            self._model.target_logprobs(torch.cat(rows), torch.tensor(targets, device=self._device)).tolist()
        )
        return [(sequence, [next(values) for _ in range(count)]) for sequence, count in counts]

    def _alike(self, messages: list[Predict]) -> list[list[int]]:
        """Rows to search together: k of like size, all with a prefix or all without, not too many."""
        alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for row, message in enumerate(messages):
            alike[bisect_left(K_BUCKETS, message.k), bool(message.prefix)].append(row)
        searches = []
        for rows in alike.values():
            k = max(min(messages[row].k, len(self._vocabulary)) for row in rows)
            size = max(1, TOPK_ELEMENTS // k)
            searches += [rows[at : at + size] for at in range(0, len(rows), size)]
        return searches

    def _find_starting_with(self, prefix: str) -> Tensor:
        return self._vocabulary.starting_with(prefix).to(self._device)


def _rows(matrix: Tensor, rows: list[int]) -> Tensor:
    if len(rows) == len(matrix):  # All of them, in order.
        return matrix
    return matrix[torch.tensor(rows, dtype=torch.int64, device=matrix.device)]
