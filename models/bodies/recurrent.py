"""What recurrent bodies share: their state, and how rows of mixed lengths run in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.bodies.base import FLOAT_BYTES, RowState, TensorState


class RecurrentBody(nn.Module):
    """A body whose state has the same size after any number of words.

    The state is one tensor (B, total), the layers' parts one after another: what takes thousands of rows
    apart and together again pays for each tensor.

    Args:
        sizes: numbers in each part of a row's state.
    """

    window: int | None = None

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def flatten_parameters(self) -> None:
        """Put each module's weights in one piece, as cuDNN wants them; needed after they were replaced."""
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()

    def initial_state(self, batch_size: int) -> TensorState:
        """Zeros."""
        return (next(self.parameters()).new_zeros(batch_size, sum(self.sizes)),)

    def stack_states(self, rows: Sequence[RowState]) -> TensorState:
        """One batched state of the rows' own."""
        return (torch.stack([packed for (packed,) in rows]),)

    def split_state(self, state: TensorState) -> list[RowState]:
        """The rows' own states, each with memory of its own."""
        # One call for all rows: each call lets another thread have the interpreter.
        return [(packed,) for packed in torch.ops.aten.unbind_copy(state[0])]

    def state_bytes(self, words: int) -> int:
        """The same after any number of words."""
        return FLOAT_BYTES * sum(self.sizes)


def some_lengths(lengths: Tensor | None, steps: int) -> Tensor | None:
    """`lengths`, or None where every row is `steps` long: then nothing has to be packed."""
    return None if lengths is None or bool((lengths == steps).all()) else lengths


def run_module(module: nn.Module, vectors: Tensor, lengths: Tensor | None, start: Any) -> tuple[Tensor, Any]:
    """(B, T, output) of a recurrent `module` of torch (batch first) for (B, T, input) `vectors` from `start`,
    zero beyond each row's length, and its state after each row's last word."""
    if lengths is None:
        out, after = module(vectors, start)
        return out, after
    packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
    out, after = module(packed, start)
    padded, _ = pad_packed_sequence(out, batch_first=True, total_length=vectors.shape[1])
    return padded, after
