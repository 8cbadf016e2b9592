"""The parameters of an adaptive softmax, and the logits that they give of the head and of each cluster.

Grave et al., "Efficient softmax approximation for GPUs", ICML 2017, section 4. Clusters of one *band* share
the projection of the hidden row to the band's width, so that many small clusters cost no more parameters than
one large one.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config.model import ModelConfig


class SoftmaxParameters(nn.Module):
    """Weights, the words that are never answered, and logits a section (the head, a cluster) at a time.

    Shapes, with d the hidden size, c0 the short-list and n clusters in bands b: `head` (c0 + n, d),
    `projections[b]` (width_b, d), `tails[b]` (words_b, width_b), `head_bias` (c0 + n), `tail_biases[b]`
    (words_b). With a head projection to w dimensions `head` is (c0, w) beside `head_projection` (w, d) and
    `clusters` (n, d). Without tail projections width_b is d; of width 0 a band's words have no vectors.
    Kernels read `head_weight`, `projection_weight` and `tail_weight`, which every layout has.
    """

    excluded: Tensor
    """(V,) bool: the words that `topk` never answers."""
    answerable: Tensor
    """(1 + n,) int64: how many words of the short-list and of each cluster are not excluded."""
    edges: Tensor
    """(2 + n,) int64: 0, then the cutoffs."""

    def __init__(self, config: ModelConfig, excluded: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.cutoffs = config.cutoffs
        self.shortlist = config.cutoffs[0]
        self.n_clusters = config.n_clusters
        self.hidden_size = d = config.hidden_size
        self.head_projection: nn.Parameter | None = None
        self.clusters: nn.Parameter | None = None
        if config.head_projection is None:
            self.head = nn.Parameter(torch.empty(self.shortlist + self.n_clusters, d))
        else:
            self.head = nn.Parameter(torch.empty(self.shortlist, config.head_projection))
            self.head_projection = nn.Parameter(torch.empty(config.head_projection, d))
            self.clusters = nn.Parameter(torch.empty(self.n_clusters, d))
        self.projected = config.tail_projections
        self.projections = nn.ParameterList(
            torch.empty(band.width, d) for band in config.bands if config.tail_projections
        )
        words = [high - low for low, high in pairwise(config.band_edges)]
        self.tails = nn.ParameterList(
            torch.empty(n, band.width) for n, band in zip(words, config.bands, strict=True)
        )
        columns = self.shortlist + self.n_clusters
        self.head_bias = nn.Parameter(torch.zeros(columns)) if config.head_bias else None
        self.tail_biases = nn.ParameterList(torch.zeros(n) for n in words) if config.tail_bias else None
        self.cluster_sizes = [high - low for low, high in pairwise(self.cutoffs)]
        self.band_of = [b for b, band in enumerate(config.bands) for _ in range(band.clusters)]
        ends = list(accumulate(band.clusters for band in config.bands))
        self.band_clusters = [
            range(end - band.clusters, end) for end, band in zip(ends, config.bands, strict=True)
        ]
        for name in ("excluded", "answerable", "edges"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.exclude(excluded)
        self.reset_parameters()

    def exclude(self, ids: frozenset[int]) -> None:
        """Never answer `ids` from `topk`; they keep their probability."""
        device = self.head.device
        if device.type == "meta":
            return  # There is nothing to count yet: the bundle calls this again when its weights are there.
        self.excluded = torch.zeros(self.cutoffs[-1], dtype=torch.bool, device=device)
        self.excluded[list(ids)] = True
        self.edges = torch.tensor((0, *self.cutoffs), device=device)
        self.masked_sections = {bisect_right(self.cutoffs, word) for word in ids}  # 0: the short-list
        self.answerable = F.pad((~self.excluded).cumsum(0), (1, 0))[self.edges].diff()

    def reset_parameters(self) -> None:
        """Draw weights with variance 1 / fan-in."""
        others = [weight for weight in (self.head_projection, self.clusters) if weight is not None]
        for weight in [self.head, *others, *self.projections, *self.tails]:
            if 0 not in weight.shape:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def head_logits(self, hidden: Tensor) -> Tensor:
        """(B, c0 + n) float32 logits of the short-list and the clusters."""
        if self.head_projection is None or self.clusters is None:
            return linear(hidden, self.head, self.head_bias)
        words = linear(linear(hidden, self.head_projection), self.head)
        logits = torch.cat([words, linear(hidden, self.clusters)], dim=1)
        return logits if self.head_bias is None else logits + self.head_bias

    def project(self, hidden: Tensor, band: int) -> Tensor:
        """(B, width) float32: the rows as the clusters of `band` see them."""
        return linear(hidden, self.projections[band]) if self.projected else hidden.float()

    def head_weight(self) -> Tensor:
        """(c0 + n, d): the head as one matrix, the head projection multiplied into it."""
        if self.head_projection is None or self.clusters is None:
            return self.head
        words = self.head.double() @ self.head_projection.double()
        return torch.cat([words.to(self.head.dtype), self.clusters])

    def projection_weight(self, band: int) -> Tensor:
        """(width, d), width 1 or more: the projection of `band`; the identity where there is none, a row of
        zeros where the width is 0."""
        if self.projected:
            weight: Tensor = self.projections[band]
            return weight if len(weight) else weight.new_zeros(1, self.hidden_size)
        return torch.eye(self.hidden_size, dtype=self.head.dtype, device=self.head.device)

    def tail_weight(self, band: int) -> Tensor:
        """(words, width): the vectors of `band`, as wide as `projection_weight` has it."""
        weight: Tensor = self.tails[band]
        return weight if weight.shape[1] else weight.new_zeros(len(weight), 1)

    def cluster_weights(self, band: int) -> list[tuple[Tensor, Tensor | None]]:
        """The rows (words, width) and biases (words,) of each cluster of `band`."""
        # One split a band: slicing a parameter per cluster would cost its whole gradient each time.
        sizes = [self.cluster_sizes[c] for c in self.band_clusters[band]]
        weights = torch.split(self.tails[band], sizes)
        if self.tail_biases is None:
            return [(weight, None) for weight in weights]
        return list(zip(weights, torch.split(self.tail_biases[band], sizes), strict=True))

    def cluster_logits(self, projected: Tensor, cluster: int) -> Tensor:
        """(B, words) float32 logits of the words of `cluster`, from rows that `project` gave for its band."""
        band = self.band_of[cluster]
        start = self.cutoffs[cluster] - self.cutoffs[self.band_clusters[band][0]]
        rows = slice(start, start + self.cluster_sizes[cluster])
        bias = None if self.tail_biases is None else self.tail_biases[band][rows]
        return linear(projected, self.tails[band][rows], bias)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Float32 logits for weights of any type; under autocast (training) in the type that autocast chooses."""
    if torch.is_autocast_enabled(rows.device.type):
        return F.linear(rows, weight, bias).float()
    return F.linear(rows.float(), weight.float(), None if bias is None else bias.float())
