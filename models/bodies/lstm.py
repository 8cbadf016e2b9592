"""The LSTM body: stacked layers, optional projection (Sak et al. 2014) and residual connections."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.bodies.base import FLOAT_BYTES, RowState, TensorState
from models.config.bodies import LSTMConfig


class LSTMBody(nn.Module):
    """Maps word vectors (B, T, input) to hidden rows (B, T, d), continuing from a state.

    The state is one tensor (B, total), of each layer h (output) and c (units) one after another: splitting
    and stacking thousands of rows costs time for each tensor.

    Args:
        config: its layers.
        hidden_size: d.
        input_size: of the word vectors; by default d.
    """

    window: int | None = None

    def __init__(self, config: LSTMConfig, hidden_size: int, input_size: int | None = None) -> None:
        super().__init__()
        units = config.units_of_layers
        outputs = [config.projection or size for size in units]
        inputs = [input_size or hidden_size, *outputs[:-1]]
        if config.projection:
            _spend_projection_warning()
        self.layers = nn.ModuleList(
            nn.LSTM(before, size, proj_size=config.projection, batch_first=True)
            for before, size in zip(inputs, units, strict=True)
        )
        self.residual = [
            config.residual and before == after for before, after in zip(inputs, outputs, strict=True)
        ]
        self.to_hidden = None
        if outputs[-1] != hidden_size or config.output_bias:
            self.to_hidden = nn.Linear(outputs[-1], hidden_size, bias=config.output_bias)
        self.sizes = [size for pair in zip(outputs, units, strict=True) for size in pair]
        for layer, size in zip(self.layers, units, strict=True):
            for name, weight in layer.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(weight)
                    if name.startswith("bias_ih"):
                        nn.init.ones_(weight[size : 2 * size])  # remember at first
                else:
                    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def flatten_parameters(self) -> None:
        """Put each layer's weights in one piece, as cuDNN wants them; needed after they were replaced."""
        for layer in self.modules():
            if isinstance(layer, nn.LSTM):
                layer.flatten_parameters()

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

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """Hidden rows (B, T, d), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        after: list[Tensor] = []
        steps = vectors.shape[1]
        if lengths is not None and bool((lengths == steps).all()):
            lengths = None
        rows = vectors
        before = torch.split(state[0], self.sizes, 1)
        for i, (layer, residual) in enumerate(zip(self.layers, self.residual, strict=True)):
            start = (before[2 * i][None].contiguous(), before[2 * i + 1][None].contiguous())
            if lengths is None:
                out, (h, c) = layer(rows, start)
            else:
                packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
                out, (h, c) = layer(packed, start)
                out, _ = pad_packed_sequence(out, batch_first=True, total_length=steps)
            rows = rows + out if residual else out
            after += [h[0], c[0]]
        if self.to_hidden is not None:
            rows = self.to_hidden(rows)
        biased = self.to_hidden is not None and self.to_hidden.bias is not None
        if lengths is not None and (biased or any(self.residual)):
            inside = torch.arange(steps) < lengths[:, None]
            rows = rows * inside[:, :, None].to(rows)
        return rows, (torch.cat(after, 1),)


def _spend_projection_warning() -> None:
    """torch says once a process that projections have no oneDNN path; we know, and users need not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        nn.LSTM(1, 2, proj_size=1, device="cpu")(torch.zeros(1, 1, 1, device="cpu"))
