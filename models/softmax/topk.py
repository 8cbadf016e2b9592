"""The exact k most probable words: the head first, then cluster after cluster while one can compete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.softmax.parameters import SoftmaxParameters

NO_WORD = -1

SEARCH_ELEMENTS = 1 << 24
"""Logits that are held at once: 64 MiB of float32. A search makes some five temporaries of that size."""


class TopK(NamedTuple):
    """The k most probable words a row, best first; rows with fewer than k words end in id -1, -inf.

    ids (B, k) int64; logprobs (B, k) float32, natural logarithm; expanded (B, n_clusters) bool, the tail
    clusters that were opened.
    """

    ids: Tensor
    logprobs: Tensor
    expanded: Tensor


def k_of_rows(
    k: int | Sequence[int], allowed: Sequence[Tensor | None] | None, rows: int, words: int
) -> list[int]:
    """The k of each of so many rows, for a vocabulary of so many words.

    Raises:
        ValueError: a k that is not in 1..`words`, or a list without exactly one entry a row.
    """
    ks = [k] * rows if isinstance(k, int) else list(k)
    if len(ks) != rows or (allowed is not None and len(allowed) != rows):
        raise ValueError(f"k and allowed must have one entry for each of the {rows} rows")
    if any(not 1 <= one <= words for one in ([k] if isinstance(k, int) else ks)):
        raise ValueError(f"k must be between 1 and the vocabulary's size, {words}")
    return ks


def search(
    softmax: SoftmaxParameters,
    hidden: Tensor,
    k: int | Sequence[int],
    allowed: Sequence[Tensor | None] | None,
) -> TopK:
    """`AdaptiveSoftmax.topk`, of so many rows at a time that no part of it has more logits than
    `SEARCH_ELEMENTS` (one row's at least)."""
    n = len(hidden)
    ks = k_of_rows(k, allowed, n, softmax.cutoffs[-1])
    width = k if isinstance(k, int) else max(ks, default=0)
    step = max(1, SEARCH_ELEMENTS // max(softmax.shortlist + softmax.n_clusters, *softmax.cluster_sizes, 1))
    if n <= step:
        return Search(softmax, hidden, ks, width, allowed).run()
    pieces = [slice(at, at + step) for at in range(0, n, step)]
    parts = [
        Search(softmax, hidden[piece], ks[piece], width, allowed and allowed[piece]).run() for piece in pieces
    ]
    return TopK(*(torch.cat(part) for part in zip(*parts, strict=True)))


class _Allowed:
    """The words that one row may answer, by section: 0 is the short-list, c + 1 is cluster c."""

    def __init__(self, softmax: SoftmaxParameters, ids: Tensor) -> None:
        self.ids = ids[~softmax.excluded[ids]]
        bounds = torch.searchsorted(self.ids, softmax.edges)
        self.counts = bounds.diff()
        self.bounds: list[int] = bounds.tolist()

    def section(self, section: int) -> Tensor:
        """The sorted ids in `section`."""
        return self.ids[self.bounds[section] : self.bounds[section + 1]]


class Search:
    """One search for the `ks` most probable words of each row of `hidden` (B, d), `width` at most.

    Attributes:
        best: ids and log-probabilities (B, width) of the best words so far, sorted.
        pending: (B, n) log-probabilities of the clusters; -inf where opened or without a word to answer.
    """

    def __init__(
        self,
        softmax: SoftmaxParameters,
        hidden: Tensor,
        ks: list[int],
        width: int,
        allowed: Sequence[Tensor | None] | None,
    ) -> None:
        self.softmax, self.hidden, self.device = softmax, hidden, hidden.device
        self.width = width
        self.k = torch.tensor(ks, dtype=torch.int64, device=self.device)
        self.head = softmax.head_logits(hidden).log_softmax(-1)
        self.clusters = self.head[:, softmax.shortlist :]
        self.projected: dict[int, Tensor] = {}
        # (B, 1 + n): how many words the short-list and each cluster may answer.
        self.available = softmax.answerable.expand(len(hidden), -1)
        self.allowed: list[_Allowed | None] | None = None
        if allowed is not None and any(ids is not None for ids in allowed):
            self.allowed = [None if ids is None else _Allowed(softmax, ids) for ids in allowed]
            self.available = torch.stack(
                [
                    counts if some is None else some.counts
                    for some, counts in zip(self.allowed, self.available, strict=True)
                ]
            )
        self.pending = self.clusters.masked_fill(self.available[:, 1:] == 0, -torch.inf)
        self.expanded = torch.zeros_like(self.clusters, dtype=torch.bool)
        self.best = self._search_head()

    def run(self) -> TopK:
        """The answer."""
        self._open_what_must_be()
        while self._open_what_competes():
            pass
        ids, logprobs = self.best
        none = (torch.arange(self.width, device=self.device) >= self.k[:, None]) | logprobs.isneginf()
        return TopK(ids.masked_fill(none, NO_WORD), logprobs.masked_fill(none, -torch.inf), self.expanded)

    def _search_head(self) -> tuple[Tensor, Tensor]:
        n_words = self.softmax.shortlist
        scores = self._mask(self.head[:, :n_words], 0, range(len(self.hidden)))
        ids, values = _select(scores, torch.arange(n_words, device=self.device), self.width)
        missing = (0, self.width - ids.shape[1])
        return F.pad(ids, missing, value=NO_WORD), F.pad(values, missing, value=-torch.inf)

    def _open_what_must_be(self) -> None:
        """The most probable clusters without which a row cannot have k words, all at once."""
        if not bool((self.available[:, 0] < self.k).any()):
            return
        order = self.pending.sort(dim=1, descending=True, stable=True).indices
        sizes = self.available[:, 1:].gather(1, order)
        before = self.available[:, :1] + sizes.cumsum(1) - sizes
        must = torch.zeros_like(self.expanded).scatter(1, order, (before < self.k[:, None]) & (sizes > 0))
        found = [self.best]
        for cluster in must.any(0).nonzero()[:, 0].tolist():
            rows = must[:, cluster].nonzero()[:, 0]
            ids, values = self._select(self._open(cluster, rows), cluster)
            every = len(self.hidden), ids.shape[1]
            found.append(
                (
                    ids.new_full(every, NO_WORD).index_copy(0, rows, ids),
                    values.new_full(every, -torch.inf).index_copy(0, rows, values),
                )
            )
        self.best = _merge(found, self.width)

    def _open_what_competes(self) -> bool:
        """Open each row's most probable cluster that may hold one of its k best words; False: none does."""
        if self.pending.numel() == 0:
            return False
        ids, logprobs = self.best
        threshold = logprobs.gather(1, (self.k - 1)[:, None])[:, 0]
        bound, clusters = self.pending.max(1)
        rows = ((bound >= threshold) & ~bound.isneginf()).nonzero()[:, 0]
        for cluster, members in _groups(clusters[rows], rows):
            scores = self._open(cluster, members)
            # Most clusters hold no word that good. One that is equal may have a smaller id.
            better = scores.amax(1) >= threshold[members]
            if bool(better.any()):
                changed = members[better]
                found = self._select(scores[better], cluster)
                ids[changed], logprobs[changed] = _merge(
                    [(ids[changed], logprobs[changed]), found], self.width
                )
        return len(rows) > 0

    def _open(self, cluster: int, rows: Tensor) -> Tensor:
        """(R, words) log-probabilities of `cluster`'s words for `rows`, -inf where not to be answered."""
        softmax, band = self.softmax, self.softmax.band_of[cluster]
        if band not in self.projected:
            self.projected[band] = softmax.project(self.hidden, band)
        # Rounding must not lift a word over its cluster: the gate relies on that bound.
        within = softmax.cluster_logits(self.projected[band][rows], cluster).log_softmax(-1).clamp(max=0.0)
        self.expanded[rows, cluster] = True
        self.pending[rows, cluster] = -torch.inf
        return self._mask(self.clusters[rows, cluster, None] + within, cluster + 1, rows.tolist())

    def _select(self, scores: Tensor, cluster: int) -> tuple[Tensor, Tensor]:
        low, high = self.softmax.cutoffs[cluster : cluster + 2]
        return _select(scores, torch.arange(low, high, device=self.device), self.width)

    def _mask(self, scores: Tensor, section: int, rows: Sequence[int]) -> Tensor:
        """-inf for the words of `section` that may not be answered; `scores` has a row for each of `rows`."""
        low = self.softmax.cutoffs[section - 1] if section else 0
        if section in self.softmax.masked_sections:
            scores = scores.masked_fill(self.softmax.excluded[low : low + scores.shape[1]], -torch.inf)
        if self.allowed is None:
            return scores
        masked = torch.full_like(scores, -torch.inf)
        for i, row in enumerate(rows):
            some = self.allowed[row]
            inside = slice(None) if some is None else some.section(section) - low
            masked[i, inside] = scores[i, inside]
        return masked


def _groups(keys: Tensor, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The `rows` of each distinct key."""
    if len(rows) == 1:
        yield int(keys), rows
    elif len(rows):
        order = keys.argsort(stable=True)
        distinct, counts = torch.unique_consecutive(keys[order], return_counts=True)
        yield from zip(distinct.tolist(), torch.split(rows[order], counts.tolist()), strict=True)


def _select(values: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest `values` (B, M) with their `ids` (M,) ascending; ties to the smaller id."""
    k = min(k, values.shape[1])
    if k < values.shape[1]:
        best, at = values.topk(k + 1)
        tied = (best[:, k - 1] == best[:, k]) & ~best[:, k].isneginf()
        if not bool(tied.any()):
            return _sort(ids[at[:, :k]], best[:, :k])
    best, at = values.sort(dim=1, descending=True, stable=True)
    return ids[at[:, :k]], best[:, :k]


def _merge(found: Sequence[tuple[Tensor, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    ids, values = _sort(torch.cat([i for i, _ in found], 1), torch.cat([v for _, v in found], 1))
    return ids[:, :k], values[:, :k]


def _sort(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Rows by descending value, then ascending id."""
    ids, at = ids.sort(dim=1)
    values, order = values.gather(1, at).sort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), values
