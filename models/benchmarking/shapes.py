"""Output layers of published sizes with synthetic weights, and rows that open as many clusters as wanted.

Random weights alone would make every cluster improbable and give fake speed-ups. Here each cluster has a
dimension of the hidden row to itself: the short-list's words and the projections have zeros there, the
cluster's own column is zero elsewhere, and so its logit is what is written into that dimension, and nothing
else depends on it. From the k-th best logit t of the short-list a cluster is put

- at t - 4: it stays closed (``.``);
- at t + 1: it is opened, and none of its words is among the k best (``o``);
- so high that its best word is at t + 1/4: it is opened, and has words among the k best (``x``).

Which rows get what: for ``none`` all ``.``; for ``measured`` what a trained model does, see
`models.benchmarking.openings`; for ``all`` the same with ``.`` raised to ``o``. What a search really opened
is in every result.

The weights are float32, as most published checkpoints' are. A row is the sum of 30 short-list words such that
their logits fall as Zipf's law has it, the best between 12 and 16: a few words stand out of a noise of
standard deviation 2, and the best has a probability of about a quarter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypedDict, get_args

import torch
from torch import Tensor

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.softmax.adaptive_softmax import AdaptiveSoftmax

Expansion = Literal["none", "measured", "all"]
EXPANSIONS: Final[tuple[Expansion, ...]] = get_args(Expansion)

WORDS_OF_A_ROW: Final = 30
CLOSED, OPENED, BEST_WORD = -4.0, 1.0, 0.25
COLUMN: Final = 4.0
"""So that the clusters' dimensions are not outliers, which would spoil a code of the whole row."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`cutoffs` of the words, `widths` of the clusters, one band each."""

    hidden_size: int
    cutoffs: tuple[int, ...]
    widths: tuple[int, ...]

    def softmax(self) -> AdaptiveSoftmax:
        """The layer, on torch's default device; its weights are the next random numbers."""
        config = ModelConfig(
            vocabulary_size=self.cutoffs[-1],
            hidden_size=self.hidden_size,
            cutoffs=self.cutoffs,
            bands=tuple(Band(clusters=1, width=width) for width in self.widths),
            tied=False,
            body=LSTMConfig(layers=1, units=1),
        )
        return AdaptiveSoftmax(config).requires_grad_(False)


SHAPES: Final = {
    "wt103": Shape(1024, (20000, 60000, 267735), (256, 64)),
    "txl": Shape(1024, (20000, 40000, 200000, 267735), (256, 64, 16)),
    "gbw": Shape(1024, (60000, 100000, 640000, 793471), (256, 64, 16)),
}
"""WikiText-103 as fairseq has it, as Transformer-XL has it, and the One Billion Word benchmark."""

Patterns = dict[str, float]
"""A letter a cluster (``.``, ``o``, ``x``), and the share of the rows that are so."""


@torch.inference_mode()
def synthetic(shape: Shape) -> AdaptiveSoftmax:
    """Random weights, the same at each call."""
    torch.manual_seed(1)
    softmax = shape.softmax().eval()
    n = softmax.n_clusters
    softmax.head[:, :n] = 0
    softmax.head[softmax.shortlist :] = 0
    softmax.head[range(softmax.shortlist, len(softmax.head)), range(n)] = COLUMN
    for projection in softmax.projections:
        projection[:, :n] = 0
    return softmax


class _Measured(TypedDict):
    openings: dict[str, dict[str, Patterns]]
    targets: dict[str, list[float]]


@cache
def _measured() -> _Measured:
    """See `models.benchmarking.openings`."""
    measured: _Measured = json.loads(Path(__file__).with_name("openings.json").read_text())
    return measured


def patterns(name: str, k: int, expansion: Expansion, n_clusters: int) -> Patterns:
    """What the rows of a shape are to open; of the `k` that were measured the nearest from above counts."""
    if expansion == "none":
        return {"." * n_clusters: 1.0}
    by_k = _measured()["openings"][name]
    found = by_k[str(min((int(one) for one in by_k if int(one) >= k), default=max(map(int, by_k))))]
    if expansion == "measured":
        return found
    raised: Patterns = {}
    for letters, share in found.items():
        letters = letters.replace(".", "o")
        raised[letters] = raised.get(letters, 0.0) + share
    return raised


@torch.inference_mode()
def rows(softmax: AdaptiveSoftmax, wanted: Patterns, n: int, k: int) -> Tensor:
    """(n, d) hidden rows for `synthetic`'s layer, of which each pattern of `wanted` has its share."""
    generator = torch.Generator().manual_seed(n)
    hidden = torch.zeros(n, softmax.head.shape[1])
    best = 12 + 4 * torch.rand(n, generator=generator)
    for rank in range(1, WORDS_OF_A_ROW + 1):
        vectors = softmax.head[torch.randint(softmax.shortlist, (n,), generator=generator)]
        logits = best - torch.tensor(float(rank)).log()
        hidden += logits[:, None] * vectors / vectors.square().sum(1, keepdim=True)
    letters = _spread(wanted, n, generator)
    for some, marks in zip(torch.split(hidden, 64), torch.split(letters, 64), strict=True):
        _place(softmax, some, marks, k)
    return hidden


def targets(name: str, softmax: AdaptiveSoftmax, n: int) -> Tensor:
    """(n,) words of which as many lie in each cluster of a shape as of a text's words."""
    generator = torch.Generator().manual_seed(n)
    tails = torch.tensor(_measured()["targets"][name], dtype=torch.float64)
    ends = torch.cat([1 - tails.sum()[None], tails]).cumsum(0)
    section = torch.bucketize(torch.rand(n, generator=generator, dtype=torch.float64), ends[:-1], right=True)
    edges = torch.tensor((0, *softmax.cutoffs))
    sizes = edges.diff()[section]
    return edges[section] + (torch.rand(n, generator=generator, dtype=torch.float64) * sizes).long()


def _spread(wanted: Patterns, n: int, generator: torch.Generator) -> Tensor:
    """(n, clusters) the code of each letter; any few consecutive rows have about the wanted shares."""
    ends = torch.tensor(list(wanted.values())).cumsum(0)
    # Not drawn: the golden ratio's multiples are spread as evenly as can be.
    at = (torch.arange(n) * 0.6180339887).frac() * ends[-1]
    chosen = torch.bucketize(at, ends[:-1], right=True)
    return torch.tensor([[ord(letter) for letter in one] for one in wanted], dtype=torch.int64)[chosen]


def _place(softmax: AdaptiveSoftmax, hidden: Tensor, letters: Tensor, k: int) -> None:
    """Writes the clusters' logits into their dimensions of the rows."""
    words = softmax.head_logits(hidden)[:, : softmax.shortlist]
    threshold = words.topk(min(k, softmax.shortlist)).values[:, -1]
    for cluster in range(softmax.n_clusters):
        marks = letters[:, cluster]
        logits = torch.full_like(threshold, CLOSED)
        logits[marks == ord("o")] = OPENED
        best = (marks == ord("x")).nonzero()[:, 0]
        if len(best):
            projected = softmax.project(hidden[best], softmax.band_of[cluster])
            within = softmax.cluster_logits(projected, cluster).log_softmax(1)
            logits[best] = BEST_WORD - within.amax(1)
        hidden[:, cluster] = (threshold + logits) / COLUMN
