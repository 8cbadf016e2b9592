"""The LSTM with weights of 8 bits, once more and in numpy: int64 sums, one float32 operation at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.bodies.integer_products import IntegerLinear, IntegerMatrix, quantize_rows
from models.bodies.quantized_lstm import QuantizedLSTMBody, QuantizedLSTMLayer
from models.config.bodies import LSTMConfig

Floats = npt.NDArray[np.float32]
f32 = np.float32

_EXP2 = [f32(float.fromhex(x)) for x in (
    "0x1.5bba14p-10", "0x1.3cea88p-7", "0x1.c6b752p-5", "0x1.ebf9bcp-3", "0x1.62e42ap-1",
)]  # fmt: skip


def product(matrix: IntegerMatrix, rows: Floats) -> Floats:
    """(N, out) of (N, in)."""
    weight, scales = matrix.weight.numpy().astype(np.int64), matrix.scale.numpy()
    out = np.zeros((len(rows), len(weight)), f32)
    for i, row in enumerate(rows):
        top = np.abs(row).max()
        if top > f32(2.0**-100):
            codes = np.rint(row * (f32(127) / top)).astype(np.int64)
            out[i] = (weight @ codes).astype(f32) * (top / f32(127) * scales)
    return out


def one_and_exp2(y: Floats) -> Floats:
    y = np.clip(y, f32(-126), f32(40))
    whole = np.rint(y)
    rest, p = y - whole, np.zeros_like(y)
    for coefficient in _EXP2:
        p = p * rest + coefficient
    return f32(1) + np.ldexp(p * rest + f32(1), whole.astype(np.int32))


def cell(gates: Floats, c: Floats) -> tuple[Floats, Floats]:
    """The c and h after."""
    put, forget, fresh, out = np.split(gates, 4, 1)
    one, two = f32(-1.44269504), f32(-2.88539008)
    put, forget, out = (one_and_exp2(x * one) for x in (put, forget, out))
    fresh = one_and_exp2(fresh * two)
    after = (c * (put * fresh) + (f32(2) - fresh) * forget) / (put * fresh * forget)
    shown = one_and_exp2(after * two)
    return after, (f32(2) - shown) / (out * shown)


def run_layer(layer: QuantizedLSTMLayer, vectors: Floats, h: Floats, c: Floats) -> tuple[Floats, ...]:
    """Outputs (T, output) of one row (T, input), and the h and c after it."""
    out, h, c = [], h[None], c[None]
    for vector in vectors:
        share = product(layer.input, vector[None]) + layer.bias.numpy()
        share = np.clip(share, f32(-65504), f32(65504)).astype(np.float16).astype(f32)
        c, h = cell(share + product(layer.hidden, h), c)
        if layer.projection is not None:
            h = product(layer.projection, h)
        out.append(h[0])
    return np.stack(out), h[0], c[0]


def run_body(
    body: QuantizedLSTMBody, vectors: Floats, lengths: list[int], state: Floats
) -> tuple[Floats, Floats]:
    """Hidden rows (B, T, d) of (B, T, input), and the state after, one row at a time."""
    hidden, after = [], []
    for row, length, before in zip(vectors, lengths, state, strict=True):
        rows, parts, at = row[:length], [], 0
        for layer, residual in zip(body.layers, body.residual, strict=True):
            assert isinstance(layer, QuantizedLSTMLayer)
            h, c = np.split(before[at : at + layer.outputs + layer.units], [layer.outputs])
            out, h, c = run_layer(layer, rows, h, c)
            rows, at = rows + out if residual else out, at + len(h) + len(c)
            parts += [h, c]
        if isinstance(body.to_hidden, IntegerLinear):
            rows = product(body.to_hidden, rows)
            if body.to_hidden.bias is not None:
                rows = rows + body.to_hidden.bias.numpy()
        hidden.append(np.pad(rows, ((0, len(row) - length), (0, 0))))
        after.append(np.concatenate(parts))
    return np.stack(hidden), np.stack(after)


def random_body(
    config: LSTMConfig, hidden: int, inputs: int, seed: int = 0, scale: float = 0.5
) -> QuantizedLSTMBody:
    """With random weights that use all 8 bits, and biases."""
    generator = torch.Generator().manual_seed(seed)
    body = QuantizedLSTMBody(config, hidden, inputs).eval().requires_grad_(False)
    for module in body.modules():
        if isinstance(module, IntegerMatrix):
            weight = torch.randn(module.weight.shape, generator=generator) * scale
            weight[torch.rand(weight.shape, generator=generator) < 0.02] *= 8
            module.weight.data, module.scale.data = quantize_rows(weight)
        bias: Any = getattr(module, "bias", None)
        if bias is not None:
            bias.normal_(generator=generator)
    return body
