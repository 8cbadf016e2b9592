"""The LSTM body with weights of 8 bits, multiplied as integers: `LSTMBody` in the arithmetic of
`models.bodies.integer_products`, which makes its results the same to the bit everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.bodies.base import TensorState
from models.bodies.integer_products import IntegerLinear, IntegerMatrix, cell, quantize_rows, to_half
from models.bodies.lstm import LSTMBody
from models.config.bodies import LSTMConfig


class QuantizedLSTMLayer(nn.Module):
    """One layer, with or without a projection.

    A step: ``gates = half(input x + bias) + hidden h``, where the products are `IntegerMatrix`'s; then the
    cells; h is the projection of their outputs. The inputs' share of the gates is rounded to float16, so
    that kernels may keep those of frequent words.
    """

    def __init__(self, inputs: int, units: int, projection: int) -> None:
        super().__init__()
        self.inputs, self.units, self.outputs = inputs, units, projection or units
        self.input = IntegerMatrix(inputs, 4 * units)
        self.hidden = IntegerMatrix(self.outputs, 4 * units)
        self.bias = nn.Parameter(torch.zeros(4 * units), requires_grad=False)
        self.projection = IntegerMatrix(units, projection) if projection else None

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, output) of (B, T, input), zero beyond each row's length, and the h and c after it."""
        given = to_half(self.input(vectors) + self.bias)
        out = []
        for t in range(vectors.shape[1]):
            after, shown = cell(given[:, t] + self.hidden(h), c)
            now = shown if self.projection is None else self.projection(shown)
            if lengths is None:
                h, c = now, after
                out.append(now)
            else:
                running = (lengths > t).to(now.device)[:, None]
                h, c = torch.where(running, now, h), torch.where(running, after, c)
                out.append(torch.where(running, now, 0.0))
        return torch.stack(out, 1), h, c


class QuantizedLSTMBody(LSTMBody):
    """`LSTMBody` with integer weights; the same arguments, state and shapes."""

    def make_layer(self, inputs: int, units: int, projection: int) -> nn.Module:
        """With all weights 0."""
        return QuantizedLSTMLayer(inputs, units, projection)

    def make_linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """With all weights 0."""
        return IntegerLinear(inputs, outputs, bias)

    def run_layer(
        self, layer: nn.Module, rows: Tensor, lengths: Tensor | None, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `QuantizedLSTMLayer`."""
        out, h, c = layer(rows, lengths, h, c)
        return out, h, c

    def initial_state(self, batch_size: int) -> TensorState:
        """Zeros, float32."""
        device = next(self.parameters()).device
        return (torch.zeros(batch_size, sum(self.sizes), device=device),)


def quantized(body: LSTMBody, config: LSTMConfig, hidden_size: int, input_size: int) -> QuantizedLSTMBody:
    """`body`, which `config` describes, with its matrices in 8 bits."""
    made = QuantizedLSTMBody(config, hidden_size, input_size)
    for layer, into in zip(body.layers, made.layers, strict=True):
        assert isinstance(into, QuantizedLSTMLayer)  # noqa: S101 - narrows the type
        weights = dict(layer.named_parameters())
        _fill(into.input, weights["weight_ih_l0"])
        _fill(into.hidden, weights["weight_hh_l0"])
        if into.projection is not None:
            _fill(into.projection, weights["weight_hr_l0"])
        into.bias.data = weights["bias_ih_l0"].detach().float() + weights["bias_hh_l0"].detach().float()
    if isinstance(made.to_hidden, IntegerLinear) and isinstance(body.to_hidden, nn.Linear):
        _fill(made.to_hidden, body.to_hidden.weight)
        if made.to_hidden.bias is not None:
            made.to_hidden.bias.data = body.to_hidden.bias.detach().float()
    return made.eval()


def _fill(matrix: IntegerMatrix, weight: Tensor) -> None:
    matrix.weight.data, matrix.scale.data = quantize_rows(weight.detach())
