"""Differentiated softmax: one normalization over all words, but rare words see less of the hidden row.

Chen, Grangier & Auli, "Strategies for training large vocabulary neural language models", ACL 2016 (preprint
2015), section 2.2: the hidden row is cut into slices, and each band of words has vectors as wide as its own.
The variant without slices projects the whole row to each band's width, as the clusters of an adaptive softmax
do; the first band sees all of it.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from models.config.model import ModelConfig
from models.softmax.adaptive_softmax import CHUNK_ELEMENTS, AdaptiveSoftmax
from models.softmax.parameters import linear


class DifferentiatedSoftmax(AdaptiveSoftmax):
    """A plain softmax to its callers; its (V, d) matrix is structured.

    `head` (words_0, width_0) and `band_tables[b]` (words, width) are the vectors of the bands in order; all
    but the first have `band_projections[b]` (width, d) where there are no slices. `head_weight` is the whole
    matrix: kernels serve it as a full softmax.
    """

    def __init__(self, config: ModelConfig, excluded: frozenset[int] = frozenset()) -> None:
        super().__init__(config, excluded)
        first, *others = config.output_bands
        d = config.hidden_size
        self.head = nn.Parameter(torch.empty(first.words, first.width))
        self.band_tables = nn.ParameterList(torch.empty(band.words, band.width) for band in others)
        self.band_projections = nn.ParameterList(
            torch.empty(band.width, d) for band in others if not config.output_slices
        )
        edges = [0, *accumulate(band.width for band in config.output_bands)]
        self.slices = [slice(*edge) for edge in pairwise(edges)] if config.output_slices else None
        for weight in [self.head, *self.band_tables, *self.band_projections]:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def head_logits(self, hidden: Tensor) -> Tensor:
        """(B, V) float32 logits of all words."""
        tables = [self.head, *self.band_tables]
        if self.slices is not None:
            seen = [hidden[:, part] for part in self.slices]
        else:
            seen = [hidden, *(linear(hidden, projection) for projection in self.band_projections)]
        logits = torch.cat([linear(rows, table) for rows, table in zip(seen, tables, strict=True)], dim=1)
        return logits if self.head_bias is None else logits + self.head_bias

    def head_weight(self) -> Tensor:
        """(V, d): all vectors as the whole hidden row meets them."""
        if self.slices is None:
            parts = [
                (table.double() @ projection.double()).to(table.dtype)
                for table, projection in zip(self.band_tables, self.band_projections, strict=True)
            ]
            return torch.cat([self.head, *parts])
        weight = self.head.new_zeros(self.shortlist, self.hidden_size)
        at = 0
        for part, table in zip(self.slices, [self.head, *self.band_tables], strict=True):
            weight[at : at + len(table), part] = table
            at += len(table)
        return weight

    def target_logprobs(
        self, hidden: Tensor, targets: Tensor, chunk_elements: int | None = CHUNK_ELEMENTS
    ) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`; all words are scored."""
        # The base class bounds its temporaries by the matrix that it knows, `head`.
        bound = None if chunk_elements is None else chunk_elements * max(self.head.shape) // self.shortlist
        return super().target_logprobs(hidden, targets, bound)
