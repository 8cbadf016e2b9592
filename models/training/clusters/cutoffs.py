"""Where to cut the vocabulary into clusters: the cheapest cutoffs, by dynamic programming.

Grave et al., "Efficient softmax approximation for GPUs", ICML 2017, section 4.3. Words are sorted by
frequency. A step costs the head, over the short-list and a column a cluster, and each cluster as often as it
is needed; each cluster is a stretch of the words, so the cost is a sum over stretches, and the best way to
cut the first words into j clusters extends a best way to cut fewer words into j - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.training.clusters.timing import Array, TimeModel, TimeModels

Integers = npt.NDArray[np.int64]


class Costs(Protocol):
    """What the parts of an output layer cost, for every choice of their edges among the words of `grid`.

    `grid` (m,) ascends and ends with the vocabulary's size.
    """

    grid: Integers

    def head(self, clusters: int) -> Array:
        """(m,) seconds of the head with `clusters` columns when the short-list ends at each edge."""

    def tail(self, index: int) -> Array:
        """(m, m) seconds of cluster `index`, from 0, of the words from each edge to each; inf: impossible."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Cutoffs, the vocabulary's size the last, and what they are expected to cost, in seconds."""

    cutoffs: tuple[int, ...]
    seconds: float

    @property
    def clusters(self) -> int:
        """The number of tail clusters."""
        return len(self.cutoffs) - 1


def cheapest(costs: Costs, clusters: int) -> Plan:
    """The plan of least cost with so many tail clusters: no other choice of edges of the grid is cheaper.

    Raises:
        ValueError: so many clusters do not fit on the grid.
    """
    best = costs.head(clusters)
    cuts: list[Integers] = []
    for index in range(clusters):
        ways = best[:, None] + costs.tail(index)
        cuts.append(ways.argmin(0))
        best = ways.min(0)
    at = len(costs.grid) - 1
    seconds = float(best[at])
    if not np.isfinite(seconds):
        raise ValueError(f"{clusters} clusters do not fit the vocabulary of {costs.grid[-1]} words")
    edges = [at]
    for cut in reversed(cuts):
        edges.append(int(cut[edges[-1]]))
    return Plan(tuple(costs.grid[edges[::-1]].tolist()), seconds)


def price(costs: Costs, cutoffs: Sequence[int]) -> float:
    """The expected seconds of given cutoffs, all of them edges of the grid."""
    at = np.searchsorted(costs.grid, cutoffs)
    if not np.array_equal(costs.grid[np.minimum(at, len(costs.grid) - 1)], cutoffs):
        raise ValueError("cutoffs must lie on the grid")
    tails = sum(costs.tail(i)[at[i], at[i + 1]] for i in range(len(at) - 1))
    return float(costs.head(len(at) - 1)[at[0]] + tails)


def candidates(
    vocabulary_size: int, points: int = 160, smallest: int = 32, also: Sequence[int] = ()
) -> Integers:
    """Edges in geometric progression from `smallest` to the vocabulary's size, and those in `also`."""
    low = min(smallest, vocabulary_size)
    spread = np.geomspace(low, vocabulary_size, points).round().astype(np.int64)
    return np.unique(
        np.concatenate([spread, [n for n in also if low <= n < vocabulary_size]]).astype(np.int64)
    )


def words_of_share(counts: npt.ArrayLike, share: float) -> int:
    """How many of the first words make up `share` of a text, at least one."""
    counts = np.asarray(counts, np.float64)
    below = np.cumsum(counts) / counts.sum()
    return min(len(counts), int(np.searchsorted(below, share)) + 1)


def geometric_cutoffs(vocabulary_size: int, shortlist: int, clusters: int) -> tuple[int, ...]:
    """Cluster edges from `shortlist` to `vocabulary_size` in geometric progression, at least a word each."""
    edges = [shortlist]
    for i in range(1, clusters + 1):
        ideal = shortlist * (vocabulary_size / shortlist) ** (i / clusters)
        edges.append(max(edges[-1] + 1, round(ideal)))
    if clusters and edges[-1] != vocabulary_size:
        raise ValueError(f"{clusters} clusters do not fit between {shortlist} and {vocabulary_size} words")
    return tuple(edges)


def equal_mass_cutoffs(counts: npt.ArrayLike, clusters: int) -> tuple[int, ...]:
    """Edges of about so many clusters without a short-list, 0 first, that have equal shares of the text.

    Mikolov et al., "Extensions of recurrent neural network language model", ICASSP 2011, section 4. A word
    that is more frequent than such a share is a cluster on its own, so there may be fewer.
    """
    counts = np.asarray(counts, np.float64)
    below = np.cumsum(counts) / counts.sum()
    ends = np.searchsorted(below, np.arange(1, clusters) / clusters) + 1
    inner = np.unique(ends[ends < len(counts)])
    return (0, *inner.tolist(), len(counts))


@dataclass(frozen=True, slots=True)
class Widths:
    """How wide the words of a cluster are.

    Without `bands` cluster i, from 0, has ``hidden_size / factor ** (i + 1)`` dimensions (at least
    `narrowest`) and a projection of its own. With `bands`, (width, last rank) each, clusters of one band
    share its projection and none crosses from one to the next.
    """

    hidden_size: int
    factor: float = 4.0
    bands: tuple[tuple[int, int], ...] = ()
    narrowest: int = 4

    def of_cluster(self, index: int) -> int:
        """The width of a cluster where each has its own."""
        return max(self.narrowest, int(self.hidden_size // self.factor ** (index + 1)))

    def of_edges(self, grid: Integers) -> Integers:
        """(m,) with `bands`: the band of a cluster that begins at each edge."""
        return np.searchsorted([rank for _, rank in self.bands], grid, side="right")


class TrainingCosts:
    """Seconds of a training step's output layer: forwards, backwards and the optimizer."""

    def __init__(
        self,
        counts: npt.ArrayLike,
        times: TimeModels,
        widths: Widths,
        batch: int,
        grid: Integers,
        weight_seconds: float = 0.0,
    ) -> None:
        """`counts` (V,) of the words in id order; `batch` words a step; `weight_seconds` a weight costs."""
        counts = np.asarray(counts, np.float64)
        mass = np.concatenate([[0.0], np.cumsum(counts / counts.sum())])
        self.grid, self.times, self.widths, self.batch = grid, times, widths, batch
        self.weight_seconds = weight_seconds
        self.rows = mass[grid] * batch  # (m,) expected targets of a step below each edge

    def head(self, clusters: int) -> Array:
        """See `Costs`."""
        d, columns = self.widths.hidden_size, self.grid + clusters
        seconds = self.times.at(d)(columns, self.batch) + self.weight_seconds * d * columns
        start = self.grid  # the band's words that are not in the short-list are projected together
        for band, (width, _) in enumerate(self.widths.bands if clusters else ()):
            low, high = self._band(band)
            rows = np.interp(high, self.grid, self.rows) - np.interp(
                np.maximum(low, start), self.grid, self.rows
            )
            seconds = seconds + np.where(start < high, self._projection(width, np.maximum(rows, 0)), 0.0)
        return seconds

    def tail(self, index: int) -> Array:
        """See `Costs`."""
        words = (self.grid[None, :] - self.grid[:, None]).astype(np.float64)
        rows = self.rows[None, :] - self.rows[:, None]
        possible = words > 0
        if not self.widths.bands:
            width = self.widths.of_cluster(index)
            seconds = self._cluster(width, words, rows) + self._projection(width, np.maximum(rows, 0))
            return np.where(possible, seconds, np.inf)
        seconds = np.full(words.shape, np.inf)
        band_of = self.widths.of_edges(self.grid)
        for band, (width, _) in enumerate(self.widths.bands):
            inside = possible & (band_of == band)[:, None] & (self.grid <= self._band(band)[1])[None, :]
            seconds = np.where(inside, self._cluster(width, words, rows), seconds)
        return seconds

    def _band(self, band: int) -> tuple[int, int]:
        ranks = [0, *(rank for _, rank in self.widths.bands)]
        return ranks[band], ranks[band + 1]

    def _cluster(self, width: int, words: Array, rows: Array) -> Array:
        return (
            _expected(self.times.at(width), np.maximum(words, 1), rows) + self.weight_seconds * width * words
        )

    def _projection(self, width: int, rows: Array) -> Array:
        d = self.widths.hidden_size
        return _expected(self.times.at(d), width, rows) + self.weight_seconds * d * width


def _expected(model: TimeModel, k: npt.ArrayLike, rows: Array) -> Array:
    """Seconds when a step brings `rows` targets on average: none at all with probability exp(-rows)."""
    rows = np.maximum(rows, 1e-9)
    any_row = -np.expm1(-rows)
    return np.asarray(any_row * model(k, rows / any_row))
