"""Which positions a Transformer-XL position attends (Dai et al. 2019, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.config.bodies import TransformerXLConfig

# Elements of the largest temporary of the attention: 32 MiB of float32.
CHUNK_ELEMENTS = 1 << 23


@dataclass(frozen=True, slots=True)
class QueryChunk:
    """Consecutive queries of a batch and the keys that they may see.

    Keys stand in columns: those of the memory, aligned to the right, then the new ones. Column S + t holds
    the key of query t, so that a query and a column are equally far apart in every row of the batch.

    Attributes:
        queries: the queries t, n of them.
        columns: the C columns that any of them sees; the last belongs to the last query.
        unseen: (B, 1, n, C) bool, the keys that a query does not see.
        distances: D >= C, how many distances between query and key occur: D - 1, ..., 1, 0.
        not_zero: (B, 1, n, D) bool, the distances at which a query sees no zero memory; None if none does.
    """

    queries: slice
    columns: slice
    unseen: Tensor
    distances: int
    not_zero: Tensor | None


@dataclass(frozen=True, slots=True)
class SegmentMemory:
    """The rule that gives each position p of a text the first position that it attends.

    In segments of `segment` words a position attends its own segment up to itself and the `memory` positions
    before that segment, as the original does when a text is fed in such segments from its start. With
    `attended` (the original's `same_length`) it attends exactly that many positions, itself included, and
    segments do not matter. Positions before the text are memory filled with zeros, or absent.
    """

    memory: int
    segment: int
    attended: int | None
    zeros: bool

    @classmethod
    def of(cls, config: TransformerXLConfig) -> SegmentMemory:
        """The rule that `config` describes."""
        return cls(config.memory, config.segment, config.attended, config.initial_memory == "zeros")

    def first(self, positions: Tensor) -> Tensor:
        """The first position that each of `positions` attends; negative: before the text."""
        if self.attended is not None:
            return positions - (self.attended - 1)
        return positions // self.segment * self.segment - self.memory

    def held(self, seen: Tensor) -> Tensor:
        """How many of the `seen` positions the next one, and hence any later one, can attend."""
        return seen - self.first(seen).clamp(min=0)

    def chunks(
        self, seen: Tensor, held: int, steps: int, heads: int, device: torch.device
    ) -> Iterator[QueryChunk]:
        """The queries of `steps` new words, few enough at a time for bounded temporaries.

        `seen` (B,) int64 on the CPU: positions before the new ones; `held`: columns of the memory.
        """
        batch = len(seen)
        start = 0
        while start < steps:
            widest = int(self._distances(seen, start, steps, held))
            count = max(1, min(steps - start, CHUNK_ELEMENTS // max(1, batch * heads * widest)))
            yield self._chunk(seen, held, slice(start, start + count), device)
            start += count

    def _distances(self, seen: Tensor, start: int, stop: int, held: int) -> Tensor:
        """How many distances the queries ``start .. stop`` span."""
        positions = seen[:, None] + torch.arange(start, stop)
        span = positions - self.first(positions)
        if not self.zeros:
            span = torch.minimum(span, positions)
        return span.max() + stop - start

    def _chunk(self, seen: Tensor, held: int, queries: slice, device: torch.device) -> QueryChunk:
        steps = torch.arange(queries.start, queries.stop)
        positions = seen[:, None] + steps  # (B, n)
        first = self.first(positions)
        # Column s of row b holds position seen[b] - held + s.
        low = int((first.clamp(min=0) - seen[:, None]).min()) + held
        columns = slice(low, held + queries.stop)
        at = torch.arange(columns.start, columns.stop)
        where = seen[:, None, None] - held + at  # (B, 1, C)
        unseen = (where < first.clamp(min=0)[..., None]) | (at > (held + steps)[:, None])
        distances = columns.stop - columns.start
        not_zero = None
        if self.zeros and int(first.min()) < 0:
            spans = torch.where(first < 0, positions - first, 0)  # the distance of the farthest zero
            distances = max(distances, int(spans.max()) + 1)
            distance = torch.arange(distances - 1, -1, -1)
            not_zero = (distance <= positions[..., None]) | (distance > spans[..., None])
            not_zero = not_zero[:, None].to(device)
        return QueryChunk(queries, columns, unseen[:, None].to(device), distances, not_zero)
