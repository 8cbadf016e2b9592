"""Output layers to test on, and independent (slow, plain) implementations of what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.softmax.adaptive_softmax import AdaptiveSoftmax


@dataclass(frozen=True)
class Layout:
    """The shape of an output layer: per band the sizes of its clusters and its width."""

    shortlist: int
    bands: tuple[tuple[tuple[int, ...], int], ...] = ()
    hidden_size: int = 8
    head_bias: bool = False
    tail_bias: bool = False
    excluded: frozenset[int] = frozenset()

    @property
    def vocabulary_size(self) -> int:
        return self.config.vocabulary_size

    @property
    def config(self) -> ModelConfig:
        sizes = [size for clusters, _ in self.bands for size in clusters]
        cutoffs = tuple(accumulate([self.shortlist, *sizes]))
        return ModelConfig(
            vocabulary_size=cutoffs[-1],
            hidden_size=self.hidden_size,
            cutoffs=cutoffs,
            bands=tuple(Band(clusters=len(clusters), width=width) for clusters, width in self.bands),
            head_bias=self.head_bias,
            tail_bias=self.tail_bias,
            body=LSTMConfig(layers=1, units=4),
        )


def even(shortlist: int, clusters: int, size: int = 3, bands: int = 2) -> Layout:
    """`clusters` clusters of `size` words, spread over up to `bands` bands."""
    parts = [len(part) for part in torch.arange(clusters).tensor_split(bands) if len(part)]
    return Layout(shortlist, tuple(((size,) * n, 4) for n in parts))


def random_layer(layout: Layout, seed: int, scale: float = 1.0) -> AdaptiveSoftmax:
    """Normal weights; `scale` makes the distribution peaked."""
    generator = torch.Generator().manual_seed(seed)
    softmax = AdaptiveSoftmax(layout.config, layout.excluded).requires_grad_(False)
    for weight in softmax.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale / max(1, weight.shape[-1]) ** 0.5)
    return softmax


def integer_layer(layout: Layout, seed: int) -> AdaptiveSoftmax:
    """Weights of -1, 0 and 1: logits are exact in any order of addition, and full of ties."""
    generator = torch.Generator().manual_seed(seed)
    softmax = AdaptiveSoftmax(layout.config, layout.excluded).requires_grad_(False)
    for weight in softmax.parameters():
        weight.copy_(torch.randint(-1, 2, weight.shape, generator=generator))
    return softmax


def integer_rows(rows: int, size: int, seed: int) -> Tensor:
    return torch.randint(-1, 2, (rows, size), generator=torch.Generator().manual_seed(seed)).float()


def random_rows(rows: int, size: int, seed: int) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def plain_log_prob(softmax: AdaptiveSoftmax, layout: Layout, hidden: Tensor) -> Tensor:
    """(N, V) in the precision of `hidden`, straight from the paper's formula and the raw weights."""

    def as_hidden(weight: Tensor) -> Tensor:
        return weight.to(hidden.dtype)

    head = hidden @ as_hidden(softmax.head).T
    if softmax.head_bias is not None:
        head = head + as_hidden(softmax.head_bias)
    head = head - head.logsumexp(1, keepdim=True)
    columns = [head[:, : layout.shortlist]]
    cluster = layout.shortlist
    for band, (sizes, _) in enumerate(layout.bands):
        logits = hidden @ as_hidden(softmax.projections[band]).T @ as_hidden(softmax.tails[band]).T
        if softmax.tail_biases is not None:
            logits = logits + as_hidden(softmax.tail_biases[band])
        for part in logits.split(list(sizes), dim=1):
            columns.append(head[:, cluster : cluster + 1] + part - part.logsumexp(1, keepdim=True))
            cluster += 1
    return torch.cat(columns, dim=1)


def brute_force(
    logprobs: Sequence[float], k: int, excluded: frozenset[int], allowed: Tensor | None
) -> list[tuple[int, float]]:
    """The k best (id, log-probability) of one row: all of it sorted, ties by the smaller id."""
    ids = range(len(logprobs)) if allowed is None else allowed.tolist()
    ranked = sorted((i for i in ids if i not in excluded), key=lambda i: (-logprobs[i], i))
    return [(i, logprobs[i]) for i in ranked[:k]]


def sequential_gate(
    layout: Layout, row: Sequence[float], clusters: Sequence[float], k: int, allowed: Tensor | None
) -> list[bool]:
    """The clusters that the paper's bound lets one row open, one after the other, best cluster first.

    `row` are the log-probabilities of all words, `clusters` those of the tail clusters.
    """
    usable = set(range(len(row)) if allowed is None else allowed.tolist()) - layout.excluded
    edges = layout.config.cutoffs
    best = sorted((row[i] for i in usable if i < layout.shortlist), reverse=True)[:k]
    opened = [False] * len(clusters)
    for c in sorted(range(len(clusters)), key=lambda c: (-clusters[c], c)):
        words = [row[i] for i in range(edges[c], edges[c + 1]) if i in usable]
        if words and (len(best) < k or clusters[c] >= best[k - 1]):
            opened[c] = True
            best = sorted(best + words, reverse=True)[:k]
    return opened


@st.composite
def layouts(draw: st.DrawFn, max_clusters: int = 12, max_size: int = 7) -> Layout:
    """Any layout: no band to four, uneven clusters, biases, words that are never answered."""
    bands = draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(1, max_size), min_size=1, max_size=max(1, max_clusters // 4)).map(tuple),
                st.integers(0, 6),
            ),
            max_size=4,
        )
    )
    layout = Layout(
        shortlist=draw(st.integers(1, 20)),
        bands=tuple(bands),
        hidden_size=draw(st.integers(1, 12)),
        head_bias=draw(st.booleans()),
        tail_bias=draw(st.booleans()),
    )
    excluded = draw(st.frozensets(st.integers(0, layout.vocabulary_size - 1), max_size=6))
    return replace(layout, excluded=excluded)


@st.composite
def questions(draw: st.DrawFn, layout: Layout, rows: int) -> tuple[list[int], list[Tensor | None] | None]:
    """A k and, perhaps, an allowed set for each of `rows` rows."""
    size = layout.vocabulary_size
    k = st.one_of(st.integers(1, min(size, 12)), st.integers(1, size), st.just(size))
    ks = draw(st.lists(k, min_size=rows, max_size=rows))
    if draw(st.booleans()):
        return ks, None
    ids = st.sets(st.integers(0, size - 1), max_size=size)
    sets = st.one_of(st.none(), ids.map(lambda some: torch.tensor(sorted(some), dtype=torch.int64)))
    return ks, draw(st.lists(sets, min_size=rows, max_size=rows))


def torch_module(softmax: AdaptiveSoftmax, layout: Layout) -> nn.AdaptiveLogSoftmaxWithLoss:
    """torch's own module with the same weights; it has one projection a cluster."""
    module = nn.AdaptiveLogSoftmaxWithLoss(
        layout.hidden_size,
        layout.vocabulary_size,
        list(layout.config.cutoffs[:-1]),
        div_value=2.0,
        head_bias=layout.head_bias,
    ).requires_grad_(False)
    module.head.weight.copy_(softmax.head)
    if softmax.head_bias is not None:
        module.head.bias.copy_(softmax.head_bias)
    for tail, projection, words in zip(module.tail, softmax.projections, softmax.tails, strict=True):
        tail[0].weight.copy_(projection)
        tail[1].weight.copy_(words)
    return module
