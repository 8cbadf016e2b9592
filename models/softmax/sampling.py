"""Exact sampling of the next word: drawn in the head, a cluster opened only if its token is drawn.

The wanted distribution is ``exp((log p(w) + bias(w)) / T)``, normalized over the words that may be answered.
The head gives the weights of the short-list and, for each cluster c of n words, a bound on their sum

    sum_w exp((log p(c) + log p(w | c) + bias(w)) / T)  <=  exp((log p(c) + b) / T) * n ** max(0, 1 - 1 / T)

with b the largest bias in c, at least 0 (for T <= 1 because x ** (1 / T) is superadditive, for T > 1 by
Hoelder's inequality). A point is drawn under these weights. In the short-list it is the answer. In a
cluster, the cluster is opened, which gives its true sum: a point below it is the answer; one above is
rejected, the sum takes the bound's place, and another point is drawn. What is accepted has exactly the
wanted distribution (rejection sampling with an envelope that tightens). At T = 1 the bound is the sum: at
most one cluster is opened.

Reads the head once and the clusters that are opened; nothing of the vocabulary's size is made. Rows with a
`top_p` below 1 are drawn in `models.softmax.nucleus`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.nucleus import draw_from_nucleus
from models.softmax.topk import TopK


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row's next word is drawn.

    Args:
        uniforms: independent numbers, uniform in [0, 1); one at least is taken, seldom more than two.
        temperature: over 0; below 1 sharpens the distribution, above 1 flattens it.
        top_p: draw only among the fewest most probable words that together have this share of the (tempered
            and biased) probability; in (0, 1], 1 is all words.
        bias: added to the log-probability of these ids, in nats, before the temperature.
    """

    uniforms: Iterator[float]
    temperature: float = 1.0
    top_p: float = 1.0
    bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be over 0 and finite, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be over 0 and at most 1, got {self.top_p}")
        if not all(map(math.isfinite, self.bias.values())):
            raise ValueError("a bias must be finite")


class Drawn(NamedTuple):
    """The drawn words: ids (B,) int64; logprobs (B,) float32, the model's own (neither tempered nor biased);
    expanded (B, n_clusters) bool, the clusters that were opened."""

    ids: Tensor
    logprobs: Tensor
    expanded: Tensor


def draw(
    softmax: AdaptiveSoftmax,
    hidden: Tensor,
    draws: Sequence[Draw],
    topk: Callable[[Tensor, int], TopK] | None = None,
) -> Drawn:
    """Draws a word for each row of `hidden` (B, d) as its entry of `draws` says. Excluded words never come.

    Args:
        softmax: the output layer.
        hidden: (B, d).
        draws: one a row.
        topk: a faster `AdaptiveSoftmax.topk`, for `top_p`.

    Raises:
        ValueError: not one draw a row, or a biased id outside the vocabulary.
    """
    if len(draws) != len(hidden):
        raise ValueError(f"draws must have one entry for each of the {len(hidden)} rows")
    for one in draws:
        if any(not 0 <= word < softmax.cutoffs[-1] for word in one.bias):
            raise ValueError(f"biased ids must be in 0..{softmax.cutoffs[-1] - 1}")
    expanded = torch.zeros(len(hidden), softmax.n_clusters, dtype=torch.bool, device=hidden.device)
    ids = torch.empty(len(hidden), dtype=torch.int64, device=hidden.device)
    logprobs = torch.empty(len(hidden), device=hidden.device)
    plain = [row for row, one in enumerate(draws) if one.top_p == 1]
    if plain:
        _Envelope(softmax, hidden, draws, plain).run(ids, logprobs, expanded)
    for row, one in enumerate(draws):
        if one.top_p < 1:
            ids[row], logprobs[row], expanded[row] = draw_from_nucleus(
                softmax,
                hidden[row : row + 1],
                next(one.uniforms),
                one.top_p,
                one.temperature,
                one.bias,
                topk or softmax.topk,
            )
    return Drawn(ids, logprobs, expanded)


def greedy(
    topk: Callable[[Tensor, int], TopK],
    target_logprobs: Callable[[Tensor, Tensor], Tensor],
    hidden: Tensor,
    bias: Mapping[int, float],
    excluded: Tensor,
) -> tuple[int, float]:
    """The limit of T -> 0 for one row `hidden` (1, d): the word of the largest biased log-probability, the
    smaller id where two are equal, and the model's own log-probability of it.

    Args:
        topk: of the output layer.
        target_logprobs: of the output layer.
        hidden: (1, d).
        bias: as in `Draw`.
        excluded: (V,) bool, words that never come.
    """
    biased = [word for word in sorted(bias) if not bool(excluded[word])]
    # Only a biased word can pass a more probable one: one word more than there are biased ones suffices.
    found = topk(hidden, min(len(biased) + 1, len(excluded)))
    values = dict(zip(found.ids[0].tolist(), found.logprobs[0].tolist(), strict=True))
    if biased:
        targets = torch.tensor(biased, device=hidden.device)
        values |= zip(biased, target_logprobs(hidden.expand(len(biased), -1), targets).tolist(), strict=True)
    values.pop(-1, None)
    best = min(values, key=lambda word: (-(values[word] + bias.get(word, 0.0)), word))
    return best, values[best]


class _Envelope:
    """Rows that are drawn from all words: the logarithms of the weights that are known of each so far.

    Attributes:
        weights: (R, c0 + n) float64, of the short-list's words and, exact or a bound, of the clusters.
    """

    def __init__(
        self, softmax: AdaptiveSoftmax, hidden: Tensor, draws: Sequence[Draw], rows: list[int]
    ) -> None:
        self.softmax, self.rows, self.draws = softmax, rows, [draws[row] for row in rows]
        self.hidden = hidden[torch.tensor(rows, device=hidden.device)]
        self.head = softmax.head_logits(self.hidden).log_softmax(-1)
        shortlist = softmax.shortlist
        self.sharpness = 1 / torch.tensor(
            [one.temperature for one in self.draws], dtype=torch.float64, device=hidden.device
        )
        self.weights = self.head.double()
        self.weights[:, :shortlist].masked_fill_(softmax.excluded[:shortlist], -torch.inf)
        for at, one in enumerate(self.draws):
            highest: dict[int, float] = {}
            for word, bias in one.bias.items():
                if word < shortlist:
                    self.weights[at, word] += bias
                else:
                    column = shortlist + self._cluster(word)
                    highest[column] = max(highest.get(column, 0.0), bias)
            for column, bias in highest.items():
                self.weights[at, column] += bias
        self.weights *= self.sharpness[:, None]
        sizes = torch.tensor(softmax.cluster_sizes, dtype=torch.float64, device=hidden.device)
        flattening = (1 - self.sharpness).clamp(min=0)
        self.weights[:, shortlist:] += flattening[:, None] * sizes.log()
        self.weights[:, shortlist:].masked_fill_(softmax.answerable[1:] == 0, -torch.inf)

    def run(self, ids: Tensor, logprobs: Tensor, expanded: Tensor) -> None:
        """Draws, and writes each row's word to its place."""
        rows = torch.tensor(self.rows, device=ids.device)
        pending = list(range(len(self.rows)))
        while pending:
            columns, below, scales = self._point(pending)
            at = torch.tensor(pending, device=ids.device)
            words = columns < self.softmax.shortlist
            ids[rows[at[words]]] = columns[words]
            logprobs[rows[at[words]]] = self.head[at[words], columns[words]]
            pending = []
            for column in torch.unique(columns[~words]).tolist():
                here = columns == column
                some, cluster = at[here], column - self.softmax.shortlist
                expanded[rows[some], cluster] = True
                found, values, accepted = self._open(some, cluster, below[here], scales[here])
                ids[rows[some[accepted]]] = found[accepted]
                logprobs[rows[some[accepted]]] = values[accepted]
                pending += some[~accepted].tolist()

    def _point(self, pending: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(P,) a point under each row's weights: the column that it is in, how far into it, and the logarithm
        of the unit that this is in."""
        weights = self.weights[torch.tensor(pending, device=self.weights.device)]
        scales = weights.amax(1)
        sums = (weights - scales[:, None]).exp().cumsum(1)
        uniforms = [next(self.draws[at].uniforms) for at in pending]
        points = torch.tensor(uniforms, dtype=torch.float64, device=sums.device) * sums[:, -1]
        points = torch.minimum(points, torch.nextafter(sums[:, -1], torch.zeros_like(points)))
        columns = torch.searchsorted(sums, points[:, None], right=True)
        before = torch.where(columns > 0, sums.gather(1, (columns - 1).clamp(min=0)), 0.0)
        return columns[:, 0], points - before[:, 0], scales

    def _open(
        self, some: Tensor, cluster: int, below: Tensor, scales: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(S,) the word of `cluster` at each of the rows' points, its log-probability, and whether there is
        one: above all words the bound was too high, and the true sum takes its place."""
        softmax = self.softmax
        low, high = softmax.cutoffs[cluster : cluster + 2]
        column = softmax.shortlist + cluster
        projected = softmax.project(self.hidden[some], softmax.band_of[cluster])
        within = softmax.cluster_logits(projected, cluster).log_softmax(-1)
        logprobs = self.head[some, column, None] + within
        weights = logprobs.double().masked_fill(softmax.excluded[low:high], -torch.inf)
        for i, at in enumerate(some.tolist()):
            for word, bias in self.draws[at].bias.items():
                if low <= word < high:
                    weights[i, word - low] += bias
        weights *= self.sharpness[some, None]
        sums = (weights - scales[:, None]).exp().cumsum(1)
        accepted = below < sums[:, -1]
        self.weights[some[~accepted], column] = weights[~accepted].logsumexp(1)
        words = torch.searchsorted(sums, below[:, None], right=True).clamp(max=high - low - 1)
        return low + words[:, 0], logprobs.gather(1, words)[:, 0], accepted

    def _cluster(self, word: int) -> int:
        return int(torch.searchsorted(self.softmax.edges, word, right=True)) - 2
