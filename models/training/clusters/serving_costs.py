"""What an exact top-k opens, for every way to cut the vocabulary: from a model's own full distribution.

The search opens a cluster if and only if its probability is at least that of the k-th best word (the words
of the answer lie in clusters that are more probable than themselves, and clusters are opened best first).
Both are known from the probabilities of all words, so any partition can be tried without a model that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.training.clusters.cutoffs import Integers, Widths
from models.training.clusters.timing import Array, TimeModel, TimeModels

WORDS = TimeModel(c=0.0, slope=1.0, elbow=0.0)
"""Counts words scored in place of seconds."""


@dataclass(frozen=True, slots=True)
class Masses:
    """Of some rows the probability below each edge of `grid`, `below` (N, m), and that of the k-th best word.

    Attributes:
        kth: (N,) by k.
    """

    grid: Integers
    below: Array
    kth: dict[int, Array]

    def opened(self, k: int) -> Array:
        """(m, m) the share of rows that open a cluster of the words from each edge to each."""
        # A cluster of one word that is the k-th best equals it: differences of sums round.
        threshold = self.kth[k][:, None] * (1 - 1e-6)
        shares = [
            ((self.below - self.below[:, start, None]) >= threshold).mean(0)
            for start in range(len(self.grid))
        ]
        return np.stack(shares).astype(np.float64)


def masses(
    logprobs: Iterable[Tensor],
    grid: Integers,
    ks: Iterable[int],
    excluded: Tensor,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Masses:
    """Collect `Masses` from (rows, V) log-probabilities of every word.

    `excluded` (V,) bool: words that are never answered; they have their share of a cluster all the same.
    """
    ks, at = list(dict.fromkeys(ks)), torch.from_numpy(grid - 1)
    below: list[Tensor] = []
    kth: dict[int, list[Tensor]] = {k: [] for k in ks}
    for part in logprobs:
        cumulated = part.double().exp().cumsum(1)
        below.append(cumulated[:, at.to(part.device)].cpu())
        best = part.double().masked_fill(excluded, -torch.inf).topk(max(ks)).values.exp().cpu()
        for k in ks:
            kth[k].append(best[:, k - 1])
        on_rows(len(part))
    return Masses(grid, torch.cat(below).numpy(), {k: torch.cat(parts).numpy() for k, parts in kth.items()})


class ServingCosts:
    """Seconds of one exact top-k for one row: the head, and what opens as often as it does."""

    def __init__(self, rows: Masses, k: int, head: TimeModel, tails: TimeModels, widths: Widths) -> None:
        """`head` is g of the head, `tails` that of a cluster that opens, by its width; for a batch of one."""
        self.grid, self.widths, self._head, self._tails = rows.grid, widths, head, tails
        self.opened = rows.opened(k)

    def head(self, clusters: int) -> Array:
        """See `Costs`."""
        return self._head(self.grid + clusters, 1)

    def tail(self, index: int) -> Array:
        """See `Costs`."""
        words = (self.grid[None, :] - self.grid[:, None]).astype(np.float64)
        if not self.widths.bands:
            seconds = self._tails.at(self.widths.of_cluster(index))(words, 1)
            return np.where(words > 0, self.opened * seconds, np.inf)
        result = np.full(words.shape, np.inf)
        band_of = self.widths.of_edges(self.grid)
        for band, (width, rank) in enumerate(self.widths.bands):
            inside = (words > 0) & (band_of == band)[:, None] & (self.grid <= rank)[None, :]
            result = np.where(inside, self.opened * self._tails.at(width)(words, 1), result)
        return result


def words_scored(rows: Masses, k: int) -> ServingCosts:
    """As `ServingCosts`, but the words that are scored in place of seconds, columns of clusters included."""
    return ServingCosts(
        rows, k, WORDS, TimeModels({1: WORDS}, {}), Widths(1, bands=((1, int(rows.grid[-1])),))
    )
