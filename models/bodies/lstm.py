"""The LSTM body: stacked layers, optional projection (Sak et al. 2014) and residual connections."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from models.bodies.base import TensorState
from models.bodies.recurrent import RecurrentBody, run_module, some_lengths
from models.config.bodies import LSTMConfig


class LSTMBody(RecurrentBody):
    """Maps word vectors (B, T, input) to hidden rows (B, T, d), continuing from a state.

    The state holds of each layer h (output) and c (units), the first layer's first.

    Args:
        config: its layers.
        hidden_size: d.
        input_size: of the word vectors; by default d.
    """

    def __init__(self, config: LSTMConfig, hidden_size: int, input_size: int | None = None) -> None:
        units = config.units_of_layers
        outputs = [config.projection or size for size in units]
        super().__init__([size for pair in zip(outputs, units, strict=True) for size in pair])
        inputs = [input_size or hidden_size, *outputs[:-1]]
        if config.projection:
            _spend_projection_warning()
        self.layers = nn.ModuleList(
            self.make_layer(before, size, config.projection)
            for before, size in zip(inputs, units, strict=True)
        )
        self.residual = [
            config.residual and before == after for before, after in zip(inputs, outputs, strict=True)
        ]
        self.to_hidden = None
        if outputs[-1] != hidden_size or config.output_bias:
            self.to_hidden = self.make_linear(outputs[-1], hidden_size, config.output_bias)
        for layer, size in zip(self.layers, units, strict=True):
            for name, weight in layer.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(weight)
                    if name.startswith("bias_ih"):
                        nn.init.ones_(weight[size : 2 * size])  # remember at first
                elif weight.is_floating_point() and weight.dim() == 2:
                    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def make_layer(self, inputs: int, units: int, projection: int) -> nn.Module:
        """One layer."""
        return nn.LSTM(inputs, units, proj_size=projection, batch_first=True)

    def make_linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """The map from the last layer to the hidden size."""
        return nn.Linear(inputs, outputs, bias=bias)

    def run_layer(
        self, layer: nn.Module, rows: Tensor, lengths: Tensor | None, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, output) of a layer for (B, T, input), and the h and c after each row's last word."""
        out, (after_h, after_c) = run_module(
            layer, rows, lengths, (h[None].contiguous(), c[None].contiguous())
        )
        return out, after_h[0], after_c[0]

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """Hidden rows (B, T, d), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        after: list[Tensor] = []
        steps = vectors.shape[1]
        lengths = some_lengths(lengths, steps)
        rows = vectors
        before = torch.split(state[0], self.sizes, 1)
        for i, (layer, residual) in enumerate(zip(self.layers, self.residual, strict=True)):
            out, h, c = self.run_layer(layer, rows, lengths, before[2 * i], before[2 * i + 1])
            rows = rows + out if residual else out
            after += [h, c]
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
