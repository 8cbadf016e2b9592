"""Runs long texts through the body: a bounded number of steps at a time, by carried state.

Simpler than the server's batches (`service.engine`) by design: all texts are known at the start and belong to
one caller, so there are no turns, deadlines or cached states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.bodies.base import RowState
from models.language_model import LanguageModel

STEPS: Final = 512
"""Words of one text in one call of the body, at most."""


class HiddenChunk(NamedTuple):
    """Hidden rows of the texts that are not at their end yet.

    Attributes:
        start: words of each text that were run before.
        hidden: (b, t, d), zero beyond a text's end; of the b first texts.
        lengths: (b,) int64 on the CPU, 1 to t.
        states: each text's state after the chunk; empty unless `run` has `keep_states`.
    """

    start: int
    hidden: Tensor
    lengths: Tensor
    states: list[RowState]


def run(
    model: LanguageModel,
    ids: Sequence[Sequence[int]],
    states: Sequence[RowState],
    steps: int = STEPS,
    keep_states: bool = False,
) -> Iterator[HiddenChunk]:
    """Runs `ids`, the longest row first, from their `states`, at most `steps` words of each row at a time."""
    lengths = torch.tensor([len(row) for row in ids])
    state = model.stack_states(states) if states else ()
    active = len(ids)
    for start in range(0, len(ids[0]) if ids else 0, steps):
        left = (lengths - start).clamp(max=steps)
        left = left[left > 0]
        if len(left) < active:
            active = len(left)
            state = model.stack_states(model.split_state(state)[:active])
        longest = int(left[0])
        padded = torch.zeros(active, longest, dtype=torch.int64)
        for row, words in zip(padded, ids, strict=False):
            piece = words[start : start + longest]
            row[: len(piece)] = torch.tensor(piece, dtype=torch.int64)
        hidden, state = model.encode(padded.to(model.device), left, state)
        yield HiddenChunk(start, hidden, left, model.split_state(state) if keep_states else [])


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows to run side by side, the longest first, so that padding is small.

    A batch has at most `budget` words a call of the body, its padding included, but at least one row.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * min(max(1, lengths[batch[0]]), STEPS) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
