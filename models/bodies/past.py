"""What attention has read: keys and values in blocks, and rows of different lengths side by side.

A row's state is a tuple of blocks (planes, words, units) that are never changed, so the states after "a b"
and after "a b c" share what they agree in: a text that is typed word by word needs about twice its own size.
Planes 2 l and 2 l + 1 are the keys and the values of layer l.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

from models.bodies.base import RowState

BLOCK: Final = 16
"""Words. Shorter blocks stand at a state's end and are joined as soon as they make up one."""
SPARE_WORDS: Final = 512
"""Padding that is cheaper than one more call of the attention."""


class Past:
    """What some rows of a batch have read, padded to the longest of them for each layer.

    Attributes:
        rows: which of the batch's.
        mask: which words each of `steps` new ones may attend, bool (b or 1, 1, steps, longest + steps); None
            where they may attend all or, nothing having been read, all up to themselves.
    """

    def __init__(self, state: Sequence[RowState], rows: list[int], steps: int, device: torch.device) -> None:
        counts = [count_words(state[row]) for row in rows]
        self.rows = torch.tensor(rows, device=device)
        self._blocks = [block for row in rows for block in state[row]]
        self._shape = (2, len(rows), max(counts))
        self._index = _padded_index(counts).to(device) if min(counts) < max(counts) else None
        self.mask: Tensor | None = None
        if self._shape[2] and (steps > 1 or self._index is not None):
            known = counts if self._index is not None else counts[:1]
            read = torch.arange(self._shape[2]) < torch.tensor(known)[:, None]
            causal = torch.ones(steps, steps, dtype=torch.bool).tril()
            self.mask = torch.cat(
                [
                    read[:, None, None].expand(-1, 1, steps, -1),
                    causal.expand(len(read), 1, -1, -1),
                ],
                dim=3,
            ).to(device)

    def keys_values(self, layer: int) -> Tensor | None:
        """(2, b, longest, units) of `layer`; None if no row has read anything."""
        if not self._shape[2]:
            return None
        flat = torch.cat([block[2 * layer : 2 * layer + 2] for block in self._blocks], dim=1)
        if self._index is not None:
            flat = flat.index_select(1, self._index)
        return flat.view(*self._shape, flat.shape[2])


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


def _padded_index(counts: Sequence[int]) -> Tensor:
    """Where each place of rows that are padded to the longest lies in the rows one behind the other.

    Padding shows the first word: the mask hides it.
    """
    longest = max(counts)
    places = []
    for start, count in zip(accumulate(counts, initial=0), counts, strict=False):
        places += [*range(start, start + count), *(0,) * (longest - count)]
    return torch.tensor(places)


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
