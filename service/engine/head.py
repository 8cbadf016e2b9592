"""Hidden rows -> answers: one search for all rows that ask for words alike, one look-up for all that ask for
scores in one mode."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from models.bundle import Bundle
from models.softmax.topk import TopK
from service.contract.messages import Predict
from service.contract.numbers import log_sum_exp
from service.engine.buckets import Bucket
from service.engine.drawing import draw
from service.engine.work import Node

K_BUCKETS = (16, 128, 1024)
"""Rows whose k lies between the same two are searched together, so that no row pays for another's k =
1000."""
TOPK_ELEMENTS = 1 << 22
"""Rows times k of one search at most."""
PREFIXES = 1024
"""Prefixes whose words are remembered."""


@dataclass(slots=True)
class Found:
    """What a search found for one row: words, best first, the tail clusters opened for them, and the most by
    which a log-probability may be off."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    clusters: tuple[int, ...]
    error: float
    drawn: tuple[int, float] | None = None
    """The word that was drawn, and its log-probability."""


@dataclass(slots=True)
class Scores:
    """The log-probabilities of a slice's targets, the most by which one of them may be off, and, where asked
    for, the best words in their places."""

    logprobs: list[float]
    error: float
    tops: list[tuple[tuple[int, ...], tuple[float, ...]]] = field(default_factory=list)


class Head:
    """The adaptive softmax as the engine uses it."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model
        self._device = bundle.device
        self._vocabulary, self._words = bundle.vocabulary, len(bundle.vocabulary)
        # Bounded by nature, too: the prefixes of one length have no more words than the vocabulary.
        self._starting_with = lru_cache(PREFIXES)(self._find_starting_with)
        self._case_variants = lru_cache(self._words)(self._find_case_variants)

    def search(self, buckets: Sequence[Bucket]) -> list[tuple[Node, Found]]:
        """The words that are asked for after each node which completes in its slice."""
        rows, asking = [], []
        for bucket in buckets:
            completing = [row for row, piece in enumerate(bucket.slices) if piece.completes]
            rows.append(_rows(bucket.last, completing))
            asking += [bucket.slices[row].node for row in completing]
        hidden = torch.cat(rows)
        messages = [node.jobs[0].message for node in asking]
        asked = [message for message in messages if isinstance(message, Predict)]
        found = self._search_alike(asked, hidden)
        self._draw(asked, hidden, found)
        return list(zip(asking, found, strict=True))

    def _draw(self, messages: list[Predict], hidden: Tensor, found: list[Found]) -> None:
        """Adds to `found` the words that the messages ask to be drawn from their rows of `hidden` (B, d)."""
        drawing = [row for row, message in enumerate(messages) if message.sampling is not None]
        if not drawing:
            return
        samplings = [sampling for message in messages if (sampling := message.sampling) is not None]
        drawn, opened = draw(self._model, _rows(hidden, drawing), samplings)
        for row, word, clusters in zip(drawing, drawn, opened, strict=True):
            words = found[row]
            words.drawn = word
            words.clusters = tuple(sorted({*words.clusters, *clusters}))

    def _search_alike(self, messages: list[Predict], hidden: Tensor) -> list[Found]:
        """The words for each message's row of `hidden` (B, d)."""
        found = {row: Found((), (), (), 0.0) for row, message in enumerate(messages) if not message.k}
        for rows in self._alike(messages):
            asked = [messages[row] for row in rows]
            ks = [min(_fetched(message), self._words) for message in asked]
            allowed = [
                self._starting_with(message.prefix or "", message.ignore_case, message.words_only)
                for message in asked
                if _is_narrow(message)
            ]
            top, errors = self._topk(_rows(hidden, rows), ks, allowed or None, asked[0].fast)
            clusters: list[list[int]] = [[] for _ in rows]
            for row, cluster in top.expanded.nonzero().tolist():
                clusters[row].append(cluster)
            for row, k, ids, logprobs, opened, error in zip(
                rows, ks, top.ids.tolist(), top.logprobs.tolist(), clusters, errors, strict=True
            ):
                n = k if ids[k - 1] >= 0 else ids.index(-1)  # Fewer words than k end in -1.
                best = _without(messages[row], ids[:n], logprobs[:n])
                found[row] = Found(*best, tuple(opened), error)
        return [found[row] for row in range(len(messages))]

    def _topk(
        self, hidden: Tensor, ks: list[int], allowed: list[Tensor] | None, fast: bool
    ) -> tuple[TopK, list[float]]:
        if fast:
            top, errors = self._model.topk_bounded(hidden, ks, allowed)
            return top, errors.tolist()
        return self._model.topk(hidden, ks, allowed), [0.0] * len(ks)

    def score(self, buckets: Sequence[Bucket]) -> list[tuple[Node, Scores]]:
        """Of each slice's targets: token i of a node after its hidden row i."""
        counts: list[tuple[Node, int]] = []
        rows: list[Tensor] = []
        targets: list[int] = []
        fast: list[bool] = []
        any_case: list[bool] = []
        for bucket in buckets:
            width = bucket.steps + 1
            index: list[int] = []
            for row, piece in enumerate(bucket.slices):
                node = piece.node
                low = max(node.position, node.unscored)
                high = len(node.tokens) if piece.completes else piece.end
                first = row * width - node.position
                index += range(first + low, first + high)
                targets += node.tokens[low:high]
                count = max(0, high - low)
                fast += [node.fast] * count
                any_case += [node.ignore_case] * count
                counts.append((node, count))
            rows.append(_rows(bucket.shifted(), index))
        if not targets:
            return [(node, Scores([], 0.0)) for node, _ in counts]
        hidden = torch.cat(rows)
        if any(any_case):
            logprobs, errors = self._variants_logprobs(hidden, targets, fast, any_case)
        else:
            wanted = torch.tensor(targets, device=self._device)
            logprobs, errors = self._target_logprobs(hidden, wanted, fast)
        found, at = [], 0
        for node, count in counts:
            error = max(errors[at : at + count], default=0.0) if node.fast else 0.0
            found.append((node, Scores(logprobs[at : at + count], error)))
            at += count
        self._add_tops(hidden, counts, [scores for _, scores in found])
        return found

    def _add_tops(self, hidden: Tensor, counts: list[tuple[Node, int]], found: list[Scores]) -> None:
        """Adds the best words after each of `hidden` (N, d) to the slices that ask for them."""
        at = 0
        for (node, count), scores in zip(counts, found, strict=True):
            if node.top and count:
                k = min(node.top, self._words)
                best = self._model.topk(hidden[at : at + count], k)
                scores.tops = [
                    (tuple(ids), tuple(logprobs))
                    for ids, logprobs in zip(best.ids.tolist(), best.logprobs.tolist(), strict=True)
                ]
            at += count

    def _variants_logprobs(
        self, hidden: Tensor, targets: list[int], fast: list[bool], any_case: list[bool]
    ) -> tuple[list[float], list[float]]:
        """`_target_logprobs`; where `any_case`, of a target's case variants together."""
        variants = [
            self._case_variants(target) if together else (target,)
            for target, together in zip(targets, any_case, strict=True)
        ]
        rows = torch.tensor([row for row, ids in enumerate(variants) for _ in ids], device=self._device)
        wanted = torch.tensor([one for ids in variants for one in ids], device=self._device)
        apart, errors = self._target_logprobs(hidden[rows], wanted, [fast[row] for row in rows.tolist()])
        logprobs, bounds, at = [], [], 0
        for ids in variants:
            part = slice(at, at := at + len(ids))
            logprobs.append(log_sum_exp(apart[part]))
            # The sum is off by no more than the worst of its parts is.
            bounds.append(max(errors[part], default=0.0))
        return logprobs, bounds

    def _target_logprobs(
        self, hidden: Tensor, targets: Tensor, fast: list[bool]
    ) -> tuple[list[float], list[float]]:
        """A log-probability and its bound for each target, which says itself whether it may be the fast one;
        no bounds at all where none may."""
        if not any(fast):
            return self._model.target_logprobs(hidden, targets).tolist(), []
        found, errors = torch.zeros(2, len(targets), device=self._device)
        for mode in (False, True):
            rows = torch.tensor([row for row, one in enumerate(fast) if one == mode], device=self._device)
            if mode:
                found[rows], errors[rows] = self._model.target_logprobs_bounded(hidden[rows], targets[rows])
            elif len(rows):
                found[rows] = self._model.target_logprobs(hidden[rows], targets[rows])
        return found.tolist(), errors.tolist()

    def _alike(self, messages: list[Predict]) -> list[list[int]]:
        """Rows to search together: k of like size, all with words to choose from or all without, in one mode,
        not too many."""
        alike: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for row, message in enumerate(messages):
            if not message.k:
                continue
            alike[bisect_left(K_BUCKETS, _fetched(message)), _is_narrow(message), message.fast].append(row)
        searches = []
        for rows in alike.values():
            k = max(min(_fetched(messages[row]), self._words) for row in rows)
            size = max(1, TOPK_ELEMENTS // k)
            searches += [rows[at : at + size] for at in range(0, len(rows), size)]
        return searches

    def _find_case_variants(self, word: int) -> tuple[int, ...]:
        return tuple(self._vocabulary.case_variants(word))

    def _find_starting_with(self, prefix: str, ignore_case: bool, words_only: bool) -> Tensor:
        return self._vocabulary.starting_with(prefix, ignore_case, words_only).to(self._device)


def _fetched(message: Predict) -> int:
    """Of so many best words k are left, whichever of them are excluded."""
    return message.k + len(message.exclude)


def _is_narrow(message: Predict) -> bool:
    """Whether only words that start or look so may be answered."""
    return bool(message.prefix) or message.words_only


def _without(
    message: Predict, ids: list[int], logprobs: list[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The k best of the words that are not excluded; more were searched for by as many as are."""
    if not message.exclude:
        return tuple(ids), tuple(logprobs)
    excluded = frozenset(message.exclude)
    left = [at for at, word in enumerate(ids) if word not in excluded][: message.k]
    return tuple(ids[at] for at in left), tuple(logprobs[at] for at in left)


def _rows(matrix: Tensor, rows: list[int]) -> Tensor:
    if len(rows) == len(matrix):  # All of them, in order.
        return matrix
    return matrix[torch.tensor(rows, dtype=torch.int64, device=matrix.device)]
