"""The output layer: an adaptive softmax over words, with exact top-k and target scoring.

Grave et al., "Efficient softmax approximation for GPUs", ICML 2017, section 4. The head is a softmax over
the short-list and one column per tail cluster; a word w of cluster c has
``log p(w) = log p(c) + log p(w | c)``.

As a kernel it reads the head's weights once a call, in their own type, and each opened cluster's once for the
rows that open it; it writes their logits, and reads them again for their maxima, sums and order. So at one
row it takes the weights' bytes over the bandwidth of memory, plus some 50 calls of torch; at many rows the
flop over the peak and several passes over the logits. `topk` holds `models.softmax.topk.SEARCH_ELEMENTS`
logits at once, in about five temporaries: 320 MiB at most, for any batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.softmax.parameters import SoftmaxParameters, linear
from models.softmax.topk import TopK, search

CHUNK_ELEMENTS = 1 << 22
"""Elements of the largest temporary of `target_logprobs`: 16 MiB of float32."""


class AdaptiveSoftmax(SoftmaxParameters):
    """The operations of the output layer on `SoftmaxParameters`, on torch's operators: the reference of every
    kernel, and a `models.kernels.base.Kernel` itself.

    Attributes:
        name, description: what it is called as a kernel.
    """

    name: str = "torch"
    description: str = "torch operators, float32"

    def log_prob(self, hidden: Tensor) -> Tensor:
        """(N, V) log-probabilities of every word: the reference, for small N."""
        head = self.head_logits(hidden).log_softmax(-1)
        parts = [head[:, : self.shortlist]]
        for cluster in range(self.n_clusters):
            projected = self.project(hidden, self.band_of[cluster])
            tail = self.cluster_logits(projected, cluster).log_softmax(-1)
            parts.append(head[:, self.shortlist + cluster, None] + tail)
        return torch.cat(parts, dim=1)

    def target_logprobs(
        self, hidden: Tensor, targets: Tensor, chunk_elements: int | None = CHUNK_ELEMENTS
    ) -> Tensor:
        """(N,) float32 log-probabilities of `targets` (N,) after `hidden` (N, d).

        Opens only the cluster of each target. No temporary that grows with N has more than `chunk_elements`
        elements (one row at least; None: no bound, for training).

        Raises:
            IndexError: a target outside the vocabulary.
        """
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.cutoffs[-1]:
            raise IndexError(f"targets must be in 0..{self.cutoffs[-1] - 1}")
        widest = max(self.head.shape)  # a row's head logits, or the row itself
        rows = max(1, len(targets) if chunk_elements is None else chunk_elements // widest)
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
        for band, clusters in enumerate(self.band_clusters):
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
                self.cluster_weights(band),
                strict=True,
            ):
                for piece, at in _pieces(part, row, chunk_elements, self.cluster_sizes[c]):
                    positions.append(at)
                    values.append(_pick(linear(piece, *weights), targets[at] - self.cutoffs[c]))
        if not values:
            return logprobs
        return logprobs.index_add(0, torch.cat(positions), torch.cat(values))

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
        return search(self, hidden, k, allowed)


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
