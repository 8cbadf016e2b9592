"""Adaptive input embeddings (Baevski & Auli, "Adaptive input representations", ICLR 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptive_softmax import AdaptiveSoftmax
from models.config import ModelConfig


class AdaptiveEmbedding(nn.Module):
    """Word vectors in the bands of the output layer: frequent words wide, rare words narrow.

    Band b has a table (words_b, width_b) and a projection (d, width_b); the short-list's vectors have the
    hidden size d and no projection. With `tied`, the tables are those of the softmax.
    """

    def __init__(self, config: ModelConfig, softmax: AdaptiveSoftmax) -> None:
        super().__init__()
        self.edges = config.band_edges
        self.hidden_size = config.hidden_size
        self.scale = config.embedding_scale
        self._tied = (softmax,) if config.tied else None  # in a tuple: not a submodule of this one
        words = [high - low for low, high in pairwise(self.edges)]
        self.projections = nn.ParameterList(
            torch.empty(config.hidden_size, band.width) for band in config.bands
        )
        if not config.tied:
            self.head = nn.Parameter(torch.empty(self.edges[0], config.hidden_size))
            self.tails = nn.ParameterList(
                torch.empty(n, band.width) for n, band in zip(words, config.bands, strict=True)
            )
        for weight in self.parameters():
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def table(self, band: int) -> Tensor:
        """(words, width) of `band`; -1 is the short-list."""
        if self._tied is not None:
            (softmax,) = self._tied
            return softmax.head[: self.edges[0]] if band < 0 else softmax.tails[band]
        return self.head if band < 0 else self.tails[band]

    def forward(self, ids: Tensor) -> Tensor:
        """(..., d) vectors of `ids` (...), int64. Raises IndexError for an id outside the vocabulary."""
        flat = ids.reshape(-1)
        found = 0
        dtype = self.projections[0].dtype if len(self.projections) else self.table(-1).dtype
        vectors = torch.zeros(len(flat), self.hidden_size, dtype=dtype, device=flat.device)
        for band, low, high in zip(
            range(-1, len(self.projections)), (0, *self.edges[:-1]), self.edges, strict=True
        ):
            at = ((flat >= low) & (flat < high)).nonzero()[:, 0]
            found += len(at)
            if len(at) == 0:
                continue
            rows = F.embedding(flat[at] - low, self.table(band))
            if band >= 0:
                rows = F.linear(rows, self.projections[band])
            vectors = vectors.index_copy(0, at, rows.to(vectors.dtype))
        if found != len(flat):
            raise IndexError(f"ids must be in 0..{self.edges[-1] - 1}")
        return (vectors * self.scale).reshape(*ids.shape, self.hidden_size)
