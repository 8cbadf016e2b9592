"""The gated convolutional body: Dauphin et al., "Language modeling with gated convolutional networks", ICML
2017, as fairseq's ``fconv_lm``.

A layer convolves the last `kernel` positions to twice its channels, of which one half gates the other:
``(X * W + b) . sigmoid(X * V + c)`` (equation 1). An earlier layer's output may be added, the sum then
scaled by the root of one half. Before a text the inputs are zero. The state of a layer is its last
``kernel - 1`` inputs, so a text of any length is read as if at once; weight normalization is folded into the
weights at import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bodies.base import FLOAT_BYTES, RowState, TensorState
from models.config.bodies import GatedConvolutionConfig


class GatedConvolutionBody(nn.Module):
    """Maps word vectors (B, T, input_size) to hidden rows (B, T, hidden_size), continuing from a state.

    The state is a tensor (B, channels, kernel - 1) a layer: its last inputs. A row's own state is the same
    without the batch dimension.
    """

    def __init__(self, config: GatedConvolutionConfig, hidden_size: int, input_size: int) -> None:
        super().__init__()
        self.config = config
        kernels = [layer.kernel for layer in config.layers]
        self.window: int = 1 + sum(kernel - 1 for kernel in kernels)
        widths = [config.layers[0].channels, *(layer.channels for layer in config.layers)]
        self.from_vectors = nn.Linear(input_size, widths[0])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, 2 * layer.channels, layer.kernel)
            for channels, layer in zip(widths, config.layers, strict=False)
        )
        # Where the added layer has another width than its target. The n-th layer's input has width n.
        self.residuals = nn.ModuleDict(
            {
                str(index): nn.Conv1d(widths[index + 1 - layer.residual], layer.channels, 1)
                for index, layer in enumerate(config.layers)
                if layer.residual and widths[index + 1 - layer.residual] != layer.channels
            }
        )
        bridged = widths[-1] != hidden_size or config.output_bias
        self.to_hidden = nn.Linear(widths[-1], hidden_size, bias=config.output_bias) if bridged else None
        self.sizes = [(channels, kernel - 1) for channels, kernel in zip(widths, kernels, strict=False)]

    def initial_state(self, batch_size: int) -> TensorState:
        """Zeros."""
        weight = self.from_vectors.weight
        return tuple(weight.new_zeros(batch_size, *size) for size in self.sizes)

    def stack_states(self, rows: Sequence[RowState]) -> TensorState:
        """One batched state of the rows' own."""
        return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))

    def split_state(self, state: TensorState) -> list[RowState]:
        """The rows' own states, each with memory of its own."""
        return [tuple(part[row].clone() for part in state) for row in range(len(state[0]))]

    def state_bytes(self, words: int) -> int:
        """The same after any number of words."""
        return FLOAT_BYTES * sum(channels * width for channels, width in self.sizes)

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """Hidden rows (B, T, hidden_size), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        steps = vectors.shape[1]
        ends = None if lengths is None or bool((lengths == steps).all()) else lengths.to(vectors.device)
        x = self.from_vectors(vectors).transpose(1, 2)
        outputs = [x]
        after: list[Tensor] = []
        for index, (layer, convolution, before) in enumerate(
            zip(self.config.layers, self.convolutions, state, strict=True)
        ):
            x = torch.cat([before, x], dim=2)
            after.append(_last(x, ends, layer.kernel - 1))
            x = F.glu(convolution(x), dim=1)
            if layer.residual:
                added = outputs[-layer.residual]
                if str(index) in self.residuals:
                    added = self.residuals[str(index)](added)
                x = (x + added) * math.sqrt(0.5)
            outputs.append(x)
        hidden = x.transpose(1, 2)
        if self.to_hidden is not None:
            hidden = self.to_hidden(hidden)
        if ends is not None:
            hidden = hidden * (torch.arange(steps, device=hidden.device) < ends[:, None])[:, :, None]
        return hidden, tuple(after)


def _last(x: Tensor, ends: Tensor | None, count: int) -> Tensor:
    """(B, C, count): the last columns of each row of `x` (B, C, count + T), after its `ends` first of T."""
    if ends is None:
        return x[:, :, x.shape[2] - count :]
    columns = ends[:, None] + torch.arange(count, device=x.device)
    return x.gather(2, columns[:, None].expand(-1, x.shape[1], -1))
