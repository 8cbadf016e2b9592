"""Gated recurrent units (Cho et al. 2014) and Elman's networks (1990), as torch has them."""

from __future__ import annotations

from torch import Tensor, nn

from models.bodies.base import TensorState
from models.bodies.recurrent import RecurrentBody, run_module, some_lengths
from models.config.bodies import RNNConfig


class RNNBody(RecurrentBody):
    """Maps word vectors (B, T, input) to hidden rows (B, T, units), continuing from a state.

    The state holds each layer's output (B, units), the first layer's first.

    Args:
        config: its cells and layers.
        input_size: of the word vectors.
    """

    def __init__(self, config: RNNConfig, input_size: int) -> None:
        super().__init__([config.units] * config.layers)
        self.layers, self.units = config.layers, config.units
        shape = (input_size, config.units, config.layers)
        self.rnn: nn.RNNBase = (
            nn.GRU(*shape, batch_first=True)
            if config.type == "gru"
            else nn.RNN(*shape, batch_first=True, nonlinearity=config.type.removeprefix("rnn_"))
        )

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """Hidden rows (B, T, units), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        lengths = some_lengths(lengths, vectors.shape[1])
        start = state[0].reshape(-1, self.layers, self.units).transpose(0, 1).contiguous()
        rows, after = run_module(self.rnn, vectors, lengths, start)
        return rows, (after.transpose(0, 1).flatten(1),)
