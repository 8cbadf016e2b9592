"""The past that attention sees: keys and values in blocks, and rows of different lengths side by side.

A row's state is a tuple of blocks (planes, words, units) that are never changed, so the states after "a b"
and after "a b c" share what they agree in: a text that is typed word by word needs about twice its own size.
Planes 2 l and 2 l + 1 are the keys and the values of layer l.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from models.bodies.base import RowState

BLOCK: Final = 16
"""Words. Shorter blocks stand at a state's end and are joined as soon as they make up one."""
SPARE_WORDS: Final = 512
"""Padding that is cheaper than one more call of the attention."""


class Past:
    """The keys and values that some rows of a batch have read, padded to the longest for each layer.

    Attributes:
        rows: which of the batch's.
        mask: which words each of `steps` new ones may attend, bool (b or 1, 1, steps, longest + steps); None
            where they may attend all or, nothing having been read, all up to themselves.
    """

    def __init__(self, state: Sequence[RowState], rows: list[int], steps: int, like: Tensor) -> None:
        device = like.device
        self.rows = torch.tensor(rows, device=device)
        self.mask: Tensor | None = None
        self._blocks = [state[row] for row in rows]
        self._counts = [count_words(blocks) for blocks in self._blocks]
        self._longest = max(self._counts)
        if not self._longest:
            return
        # One for all layers: fresh memory costs more than writing to it. Zeros, because the hidden part must
        # be finite, too.
        self._buffer = like.new_zeros(2, len(rows), self._longest + steps, like.shape[2])
        alike_counts = min(self._counts) == self._longest
        if steps > 1 or not alike_counts:
            counts = torch.tensor(self._counts[:1] if alike_counts else self._counts)
            read = (torch.arange(self._longest) < counts[:, None])[:, None, None].expand(-1, 1, steps, -1)
            causal = torch.ones(steps, steps, dtype=torch.bool).tril().expand(len(counts), 1, -1, -1)
            self.mask = torch.cat([read, causal], dim=3).to(device)

    @property
    def empty(self) -> bool:
        """Whether no row has read anything."""
        return not self._longest

    def followed_by(self, fresh: Tensor, layer: int) -> Tensor:
        """(2, b, longest + steps, units): the keys and values of `layer`, those of the new words last.

        Good until the next call.
        """
        if self.empty:
            return fresh
        for row, (blocks, count) in enumerate(zip(self._blocks, self._counts, strict=True)):
            if count:
                planes = [block[2 * layer : 2 * layer + 2] for block in blocks]
                torch.cat(planes, dim=1, out=self._buffer[:, row, :count])
        self._buffer[:, :, self._longest :] = fresh
        return self._buffer


def alike(counts: Sequence[int]) -> list[list[int]]:
    """Rows to pad to one length: padding stays below their words plus `SPARE_WORDS`."""
    groups: list[list[int]] = []
    longest = words = 0
    for row in sorted(range(len(counts)), key=counts.__getitem__, reverse=True):
        if not groups or (len(groups[-1]) + 1) * longest > 2 * (words + counts[row]) + SPARE_WORDS:
            groups.append([])
            longest, words = counts[row], 0
        groups[-1].append(row)
        words += counts[row]
    return [sorted(groups[0])] if len(groups) == 1 else groups


def count_words(row: RowState) -> int:
    """How many words a row has read."""
    return sum(block.shape[1] for block in row)


def extended(row: RowState, block: Tensor) -> RowState:
    """`row` and one more block."""
    whole = [old for old in row if old.shape[1] >= BLOCK]
    short = [*row[len(whole) :], block]
    if len(short) > 1 and count_words(tuple(short)) >= BLOCK:
        short = [torch.cat(short, dim=1)]
    return (*whole, *short)
