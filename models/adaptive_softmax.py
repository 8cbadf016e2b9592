"""The output layer: an adaptive softmax over words, with exact top-k and target scoring.

Grave et al., "Efficient softmax approximation for GPUs", ICML 2017, section 4. The head is a softmax over
the short-list and one column per tail cluster; a word w of cluster c has
``log p(w) = log p(c) + log p(w | c)``. Clusters of one *band* share the projection of the hidden row to the
band's width, so that many small clusters cost no more parameters than one large one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig

# Elements of the largest temporary of `target_logprobs`: 16 MiB of float32.
CHUNK_ELEMENTS = 1 << 22

NO_WORD = -1


class TopK(NamedTuple):
    """The k most probable words a row, best first; rows with fewer than k words end in id -1, -inf.

    ids (B, k) int64; logprobs (B, k) float32, natural logarithm; expanded (B, n_clusters) bool, the tail
    clusters that were opened.
    """

    ids: Tensor
    logprobs: Tensor
    expanded: Tensor


class AdaptiveSoftmax(nn.Module):
    """Parameters and reference operations of the output layer.

    Shapes, with d the hidden size, c0 the short-list and n clusters in bands b: `head` (c0 + n, d),
    `projections[b]` (width_b, d), `tails[b]` (words_b, width_b), `head_bias` (c0 + n), `tail_biases[b]`
    (words_b).
    """

    excluded: Tensor

    def __init__(self, config: ModelConfig, excluded: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.cutoffs = config.cutoffs
        self.shortlist = config.cutoffs[0]
        self.n_clusters = config.n_clusters
        d = config.hidden_size
        self.head = nn.Parameter(torch.empty(self.shortlist + self.n_clusters, d))
        self.projections = nn.ParameterList(torch.empty(band.width, d) for band in config.bands)
        words = [high - low for low, high in pairwise(config.band_edges)]
        self.tails = nn.ParameterList(
            torch.empty(n, band.width) for n, band in zip(words, config.bands, strict=True)
        )
        self.head_bias = nn.Parameter(torch.zeros(len(self.head))) if config.head_bias else None
        self.tail_biases = nn.ParameterList(torch.zeros(n) for n in words) if config.tail_bias else None
        self.cluster_sizes = [high - low for low, high in pairwise(self.cutoffs)]
        self.band_of = [b for b, band in enumerate(config.bands) for _ in range(band.clusters)]
        ends = list(accumulate(band.clusters for band in config.bands))
        self._band_clusters = [
            range(end - band.clusters, end) for end, band in zip(ends, config.bands, strict=True)
        ]
        self.register_buffer("excluded", torch.empty(0), persistent=False)
        self.exclude(excluded)
        self.reset_parameters()

    def exclude(self, ids: frozenset[int]) -> None:
        """Never answer `ids` from `topk`; their probability stays theirs."""
        mask = torch.zeros(self.cutoffs[-1], dtype=torch.bool, device=self.head.device)
        mask[list(ids)] = True
        self.excluded = mask

    def reset_parameters(self) -> None:
        """Draw weights with variance 1 / fan-in."""
        for weight in [self.head, *self.projections, *self.tails]:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    # -- pieces ---------------------------------------------------------------------------------------

    def head_logits(self, hidden: Tensor) -> Tensor:
        """(B, c0 + n) float32 logits of the short-list and the clusters."""
        return _linear(hidden, self.head, self.head_bias)

    def project(self, hidden: Tensor, band: int) -> Tensor:
        """(B, width) float32: the rows as the clusters of `band` see them."""
        return _linear(hidden, self.projections[band])

    def _cluster_weights(self, band: int) -> list[tuple[Tensor, Tensor | None]]:
        # One split a band: slicing a parameter per cluster would cost its whole gradient each time.
        sizes = [self.cluster_sizes[c] for c in self._band_clusters[band]]
        weights = torch.split(self.tails[band], sizes)
        if self.tail_biases is None:
            return [(weight, None) for weight in weights]
        return list(zip(weights, torch.split(self.tail_biases[band], sizes), strict=True))

    def _cluster(self, cluster: int) -> tuple[Tensor, Tensor | None]:
        band = self.band_of[cluster]
        start = self.cutoffs[cluster] - self.cutoffs[self._band_clusters[band][0]]
        rows = slice(start, start + self.cluster_sizes[cluster])
        return self.tails[band][rows], None if self.tail_biases is None else self.tail_biases[band][rows]

    # -- all words ------------------------------------------------------------------------------------

    def log_prob(self, hidden: Tensor) -> Tensor:
        """(N, V) log-probabilities of every word: the reference, for small N."""
        head = self.head_logits(hidden).log_softmax(-1)
        parts = [head[:, : self.shortlist]]
        for cluster in range(self.n_clusters):
            weight, bias = self._cluster(cluster)
            tail = _linear(self.project(hidden, self.band_of[cluster]), weight, bias).log_softmax(-1)
            parts.append(head[:, self.shortlist + cluster, None] + tail)
        return torch.cat(parts, dim=1)

    # -- target words ---------------------------------------------------------------------------------

    def target_logprobs(
        self, hidden: Tensor, targets: Tensor, chunk_elements: int | None = CHUNK_ELEMENTS
    ) -> Tensor:
        """(N,) float32 log-probabilities of `targets` (N,) after `hidden` (N, d).

        Opens only the cluster of each target. No temporary is larger than `chunk_elements` (None: no bound,
        for training). Raises IndexError for a target outside the vocabulary.
        """
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.cutoffs[-1]:
            raise IndexError(f"targets must be in 0..{self.cutoffs[-1] - 1}")
        step = len(self.head)
        rows = max(1, len(targets) if chunk_elements is None else chunk_elements // step)
        return torch.cat(
            [
                self._target_logprobs(h, t, chunk_elements)
                for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
            ]
        )

    def _target_logprobs(self, hidden: Tensor, targets: Tensor, chunk_elements: int | None) -> Tensor:
        edges = torch.tensor(self.cutoffs[:-1], device=targets.device)
        section = torch.bucketize(targets, edges, right=True)  # 0: the short-list, c + 1: cluster c
        column = torch.where(section == 0, targets, self.shortlist + section - 1)
        logprobs = _pick(self.head_logits(hidden), column)
        order = section.argsort(stable=True)
        counts = torch.bincount(section, minlength=self.n_clusters + 1).tolist()
        start = counts[0]
        positions, values = [], []
        for band, clusters in enumerate(self._band_clusters):
            in_band = sum(counts[c + 1] for c in clusters)
            if in_band == 0:
                continue
            rows = order[start : start + in_band]
            start += in_band
            sizes = [counts[c + 1] for c in clusters]
            for c, part, row, weights in zip(
                clusters,
                torch.split(self.project(hidden[rows], band), sizes),
                torch.split(rows, sizes),
                self._cluster_weights(band),
                strict=True,
            ):
                for piece, at in _pieces(part, row, chunk_elements, self.cluster_sizes[c]):
                    positions.append(at)
                    values.append(_pick(_linear(piece, *weights), targets[at] - self.cutoffs[c]))
        if not values:
            return logprobs
        return logprobs.index_add(0, torch.cat(positions), torch.cat(values))

    # -- the best words -------------------------------------------------------------------------------

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """The exact k most probable words of each row of `hidden` (B, d); see `TopK`.

        A tail cluster is opened only while its own log-probability, an upper bound on its words', is at
        least that of the k-th best word so far. Ties go to the smaller id; excluded words do not count.

        Args:
            hidden: (B, d).
            k: 1 to the vocabulary's size, for all rows or one a row; the result is as wide as the largest.
            allowed: per row the sorted ids that may be answered, or None for every word.

        Raises:
            ValueError: a k out of range, or lists of another length than B.
        """
        return _Search(self, hidden, k, allowed).run()


class _Search:
    """One `topk` call: first what must be opened to have k words at all, then cluster after cluster."""

    def __init__(
        self,
        softmax: AdaptiveSoftmax,
        hidden: Tensor,
        k: int | Sequence[int],
        allowed: Sequence[Tensor | None] | None,
    ) -> None:
        n_rows, vocabulary_size = len(hidden), softmax.cutoffs[-1]
        ks = [k] * n_rows if isinstance(k, int) else list(k)
        if len(ks) != n_rows or (allowed is not None and len(allowed) != n_rows):
            raise ValueError(f"k and allowed must have one entry for each of the {n_rows} rows")
        if any(not 1 <= one <= vocabulary_size for one in ks):
            raise ValueError(f"k must be between 1 and the vocabulary's size, {vocabulary_size}")
        self.softmax, self.hidden, self.device = softmax, hidden, hidden.device
        self.k = torch.tensor(ks, dtype=torch.int64, device=self.device)
        self.width = max(ks, default=1)
        self.head = softmax.head_logits(hidden).log_softmax(-1)
        self.clusters = self.head[:, softmax.shortlist :]
        self.expanded = torch.zeros_like(self.clusters, dtype=torch.bool)
        self.projected: dict[int, Tensor] = {}
        free = ~softmax.excluded
        self.allowed = None if allowed is None else [None if a is None else a[free[a]] for a in allowed]
        self.available = self._available(free)

    def _available(self, free: Tensor) -> Tensor:
        """(B, 1 + n) how many words each section may answer."""
        edges = torch.tensor((0, *self.softmax.cutoffs), device=self.device)
        ends = F.pad(free.cumsum(0), (1, 0))[edges]
        counts = ends.diff().expand(len(self.hidden), -1)
        if self.allowed is None or all(a is None for a in self.allowed):
            return counts
        return torch.stack(
            [
                c if a is None else torch.searchsorted(a, edges).diff()
                for a, c in zip(self.allowed, counts, strict=True)
            ]
        )

    def run(self) -> TopK:
        ids, logprobs = self._open_what_must_be()
        while True:
            threshold = logprobs.gather(1, (self.k - 1)[:, None])
            competing = (self.clusters >= threshold) & ~self.expanded & (self.available[:, 1:] > 0)
            # Only words of positive probability can be answered, so a full row of -inf opens nothing.
            if not bool(competing.any()):
                break
            best = torch.where(competing, self.clusters, -torch.inf).argmax(1)
            rows = competing.any(1).nonzero()[:, 0]
            for cluster, members in _groups(best[rows], rows):
                scores = self._score(cluster, members)
                low, high = self.softmax.cutoffs[cluster : cluster + 2]
                found = _select(scores, torch.arange(low, high, device=self.device), self.width)
                ids[members], logprobs[members] = _merge((ids[members], logprobs[members]), found, self.width)
                self.expanded[members, cluster] = True
        beyond = torch.arange(self.width, device=self.device) >= self.k[:, None]
        none = beyond | logprobs.isneginf()
        return TopK(ids.masked_fill(none, NO_WORD), logprobs.masked_fill(none, -torch.inf), self.expanded)

    def _open_what_must_be(self) -> tuple[Tensor, Tensor]:
        """The head's words and those of the clusters without which a row cannot have k words."""
        usable = self.available[:, 1:] > 0
        order = (
            self.clusters.masked_fill(~usable, -torch.inf).sort(dim=1, descending=True, stable=True).indices
        )
        sizes = self.available[:, 1:].gather(1, order)
        before = self.available[:, :1] + sizes.cumsum(1) - sizes
        must = torch.zeros_like(self.expanded).scatter(1, order, (before < self.k[:, None]) & (sizes > 0))
        parts = [self._mask(self.head[:, : self.softmax.shortlist], 0, self.softmax.shortlist, None)]
        ids = [torch.arange(self.softmax.shortlist, device=self.device)]
        for cluster in must.any(0).nonzero()[:, 0].tolist():
            rows = must[:, cluster].nonzero()[:, 0]
            low, high = self.softmax.cutoffs[cluster : cluster + 2]
            scores = self.head.new_full((len(self.hidden), high - low), -torch.inf)
            scores[rows] = self._score(cluster, rows)
            parts.append(scores)
            ids.append(torch.arange(low, high, device=self.device))
        self.expanded |= must
        found_ids, found = _select(torch.cat(parts, 1), torch.cat(ids), self.width)
        missing = (0, self.width - found.shape[1])
        return F.pad(found_ids, missing, value=NO_WORD), F.pad(found, missing, value=-torch.inf)

    def _score(self, cluster: int, rows: Tensor) -> Tensor:
        """(R, words) log-probabilities of the words of `cluster` for `rows`; -inf where not allowed."""
        band = self.softmax.band_of[cluster]
        if band not in self.projected:
            self.projected[band] = self.softmax.project(self.hidden, band)
        weight, bias = self.softmax._cluster(cluster)
        # Rounding must not lift a word over its cluster: the gate relies on that bound.
        within = _linear(self.projected[band][rows], weight, bias).log_softmax(-1).clamp(max=0.0)
        low, high = self.softmax.cutoffs[cluster : cluster + 2]
        return self._mask(self.clusters[rows, cluster, None] + within, low, high, rows)

    def _mask(self, scores: Tensor, low: int, high: int, rows: Tensor | None) -> Tensor:
        scores = scores.masked_fill(self.softmax.excluded[low:high], -torch.inf)
        if self.allowed is None:
            return scores
        for i, row in enumerate(range(len(scores)) if rows is None else rows.tolist()):
            ids = self.allowed[row]
            if ids is not None:
                inside = ids[(ids >= low) & (ids < high)] - low
                kept = torch.full_like(scores[i], -torch.inf)
                kept[inside] = scores[i, inside]
                scores[i] = kept
        return scores


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Float32 logits whatever the weights' type; under autocast (training) as autocast says."""
    if torch.is_autocast_enabled(rows.device.type):
        return F.linear(rows, weight, bias).float()
    return F.linear(rows.float(), weight.float(), None if bias is None else bias.float())


def _pick(logits: Tensor, index: Tensor) -> Tensor:
    """log_softmax(logits)[index], a row each."""
    return -F.cross_entropy(logits, index, reduction="none")


def _pieces(
    part: Tensor, rows: Tensor, chunk_elements: int | None, words: int
) -> Iterator[tuple[Tensor, Tensor]]:
    if len(rows) == 0:
        return
    step = len(rows) if chunk_elements is None else max(1, chunk_elements // words)
    yield from zip(torch.split(part, step), torch.split(rows, step), strict=True)


def _groups(keys: Tensor, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The `rows` of each distinct key."""
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


def _merge(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    ids, values = _sort(torch.cat([left[0], right[0]], 1), torch.cat([left[1], right[1]], 1))
    return ids[:, :k], values[:, :k]


def _sort(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Rows by descending value, then ascending id."""
    ids, at = ids.sort(dim=1)
    values, order = values.gather(1, at).sort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), values
