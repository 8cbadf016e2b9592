"""The contract of every body: the network between the embedding and the adaptive softmax.

A body reads texts a piece at a time. Its memory of a text is the text's *row state*: a tuple of
tensors without a batch dimension, each with memory of its own, so that a cache may keep it and count its
bytes. Rows that run side by side have a *state*, which only the body looks into: `stack_states` makes one of
row states, `split_state` takes it apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import torch
from torch import Tensor

FLOAT_BYTES: Final = 4
"""Weights and states are float32."""

RowState = tuple[Tensor, ...]
"""One text's state. Never changed in place: several texts may share its tensors."""

TensorState = tuple[Tensor, ...]
"""Several texts' states in tensors whose first dimension is the batch."""

State = TensorState | list[RowState]
"""Several texts' states, side by side. Only the body that made it looks inside."""

S = TypeVar("S", bound=State)


def last_rows(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, d) of `hidden` (B, T, d) the row at each one's end, after `lengths` (B,) words on the CPU, 1 or
    more; after T where it is None."""
    if lengths is None:
        return hidden[:, -1]
    rows, steps = hidden.shape[:2]
    ends = torch.arange(-1, rows * steps - 1, steps) + lengths
    return hidden.flatten(0, 1).index_select(0, ends.to(hidden.device))


class Body(Protocol[S]):
    """A causal network over word vectors, a `torch.nn.Module`; `S` is the type of a batch's states."""

    @property
    def window(self) -> int | None:
        """How many of a text's last words a hidden row can depend on; None where nothing bounds it.

        Longer texts are allowed: the body's description says how they are read.
        """
        ...

    def initial_state(self, batch_size: int) -> S:
        """The state before a text, for a batch."""
        ...

    def stack_states(self, rows: Sequence[RowState]) -> S:
        """One batched state of the rows' own, which may have read different numbers of words."""
        ...

    def split_state(self, state: S) -> list[RowState]:
        """The rows' own states, each tensor with memory of its own (safe to keep)."""
        ...

    def state_bytes(self, words: int) -> int:
        """The most bytes of memory that a row's state takes after 1 to `words` words."""
        ...

    def __call__(self, vectors: Tensor, lengths: Tensor | None, state: S) -> tuple[Tensor, S]:
        """Hidden rows (B, T, hidden) of word vectors (B, T, input) continued from `state`, and the state
        after each row's last word.

        `lengths` (B,) int64 on the CPU, each 1 to T; None when every row is T long. Beyond them hidden rows
        are zero, and the padding in `vectors` changes nothing. Running a text in pieces gives the same as
        running it at once, to rounding.
        """
        ...
