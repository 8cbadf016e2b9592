"""Adaptive input embeddings (Baevski & Auli, "Adaptive input representations", ICLR 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config.model import ModelConfig
from models.softmax.parameters import SoftmaxParameters


class AdaptiveEmbedding(nn.Module):
    """Word vectors in bands: frequent words wide, rare words narrow.

    Band b has a table (words_b, width_b) and, where the configuration says so, a projection (e, width_b) to
    the size e that the body reads. With `tied`, the tables are those of the softmax; with `tied_projections`
    its tail projections (width_b, e) serve here, too. Parameters: `head`, the first band's table, `tails`,
    those of the others, and `head_projection` and `projections` likewise, unless the softmax has them.
    """

    def __init__(self, config: ModelConfig, softmax: SoftmaxParameters) -> None:
        super().__init__()
        self.edges = config.input_edges
        self.size = config.input_size
        self.scale = config.embedding_scale
        # A body of integers rounds its inputs: they must not depend on the order of float32 sums.
        self.in_double = config.quantization is not None
        # In a tuple: not a submodule of this one.
        self._tables = (softmax,) if config.tied else None
        self._projections = (softmax,) if config.tied_projections else None
        self.projected = config.input_projected
        first, *widths = config.input_widths
        self.head_projection = (
            nn.Parameter(torch.empty(self.size, first)) if config.input_head_projection else None
        )
        own = [] if config.tied_projections else widths
        self.projections = nn.ParameterList(
            torch.empty(self.size, width)
            for width, projected in zip(own, self.projected[1 : 1 + len(own)], strict=True)
            if projected
        )
        if not config.tied:
            self.head = nn.Parameter(torch.empty(self.edges[0], first))
            words = [high - low for low, high in pairwise(self.edges)]
            self.tails = nn.ParameterList(
                torch.empty(n, width) for n, width in zip(words, widths, strict=True)
            )
        for weight in self.parameters():
            if 0 not in weight.shape:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def table(self, band: int) -> Tensor:
        """(words, width) of `band`; -1 is the first."""
        if self._tables is not None:
            (softmax,) = self._tables
            return softmax.head[: self.edges[0]] if band < 0 else softmax.tails[band]
        return self.head if band < 0 else self.tails[band]

    def projection(self, band: int) -> Tensor | None:
        """(e, width) of `band`, -1 being the first; None where its vectors have the size e."""
        if band < 0:
            return self.head_projection
        if not self.projected[band + 1]:
            return None
        if self._projections is None:
            own: Tensor = self.projections[band]
            return own
        (softmax,) = self._projections
        shared: Tensor = softmax.projections[band]
        return shared.T

    def forward(self, ids: Tensor) -> Tensor:
        """(..., e) vectors of `ids` (...), int64. Raises IndexError for an id outside the vocabulary."""
        flat = ids.reshape(-1)
        found = 0
        table = self.table(-1)
        vectors = torch.zeros(len(flat), self.size, dtype=table.dtype, device=flat.device)
        for band, low, high in zip(
            range(-1, len(self.edges) - 1), (0, *self.edges[:-1]), self.edges, strict=True
        ):
            at = ((flat >= low) & (flat < high)).nonzero()[:, 0]
            found += len(at)
            if len(at) == 0:
                continue
            rows = F.embedding(flat[at] - low, self.table(band))
            projection = self.projection(band)
            if projection is not None:
                if self.in_double:
                    rows = F.linear(rows.double(), projection.double()).to(rows.dtype)
                else:
                    rows = F.linear(rows, projection)
            vectors = vectors.index_copy(0, at, rows.to(vectors.dtype))
        if found != len(flat):
            raise IndexError(f"ids must be in 0..{self.edges[-1] - 1}")
        return (vectors * self.scale).reshape(*ids.shape, self.size)
