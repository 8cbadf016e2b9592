"""Products of 8-bit weights and activations, and the elementwise functions between them, defined to the
bit: integer sums are exact, and every float operation is one that IEEE 754 rounds in one way only.

So a row's result depends on nothing but the row: not on its batch, the threads, the instruction set or the
library that multiplies. The C++ kernels do the same operations in the same order (``src/integer.inc``).
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_MAX: Final = 127

WEIGHT_MAX: Final = 127

SMALLEST_MAXIMUM: Final = 2.0**-100
"""A row without a larger number counts as zero: 127 over it would overflow."""

_EXACT: Final = 2**24
"""Sums of integers up to this are exact in float32 in any order."""


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) floats -> int8 -127..127 and (rows,) float32 scales: ``scale * int8`` is nearest."""
    codes, scale = _codes(weight.float(), WEIGHT_MAX)
    return codes.to(torch.int8), scale


def quantize_activations(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., n) float32 -> float32 integers -127..127, halves to even, and (...) scales, a row each."""
    return _codes(rows, ACTIVATION_MAX)


def _codes(rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
    largest = rows.abs().amax(-1)
    some = largest > SMALLEST_MAXIMUM
    # Tensors: with a number, torch multiplies by the reciprocal, which rounds twice.
    full = torch.full_like(largest, most)
    scale = torch.where(some, largest / full, 0.0)
    inverse = torch.where(some, full / largest, 0.0)
    return (rows * inverse[..., None]).round(), scale


class IntegerMatrix(nn.Module):
    """A matrix of int8 `weight` (out, in) with `scale` (out,) float32: row r stands for scale_r weight_r."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.zeros(outputs), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(..., out) float32 of (..., in) float32 `rows`, which are quantized, each with its own scale."""
        codes, scale = quantize_activations(rows)
        return self._sums(codes) * (scale[..., None] * self.scale)

    def _sums(self, codes: Tensor) -> Tensor:
        step = _EXACT // (ACTIVATION_MAX * (WEIGHT_MAX + 1))
        parts = zip(torch.split(codes, step, -1), torch.split(self.weight, step, 1), strict=True)
        sums = [F.linear(some, weight.float()) for some, weight in parts]
        if len(sums) == 1:
            return sums[0]
        return torch.stack(sums).double().sum(0).float()


class IntegerLinear(IntegerMatrix):
    """`IntegerMatrix` and, with `bias`, (out,) float32 to add."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False) if bias else None

    def forward(self, rows: Tensor) -> Tensor:
        """(..., out) of (..., in); see `IntegerMatrix`."""
        product = super().forward(rows)
        return product if self.bias is None else product + self.bias


def to_half(values: Tensor) -> Tensor:
    """float32 rounded to the nearest float16 number, the largest of them beyond."""
    return values.clamp(-65504.0, 65504.0).half().float()


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The new (c, h) of LSTM cells from their `gates` (..., 4 n), input, forget, cell and output, and `c`.

    Both within some units in the last place of the true functions.
    """
    taken_in, forget, fresh, out = gates.chunk(4, -1)
    taken_in, forget, fresh, out = (_one_and(x) for x in (taken_in, forget, 2 * fresh, out))
    taken = taken_in * fresh
    after = (c * taken + (2 - fresh) * forget) / (taken * forget)
    shown = _one_and(2 * after)
    return after, (2 - shown) / (out * shown)


def _one_and(x: Tensor) -> Tensor:
    """1 + e^-x. From -28 on down it does not change: three such factors stay in float32's range."""
    return 1 + _exp((0 - x.clamp(min=-28.0)).clamp(min=-87.0))


def _exp(x: Tensor) -> Tensor:
    """e^x for -87 <= x <= 28: 2^n times a polynomial of the rest (Cephes' ``expf``), without fused
    operations. n comes out of an addition that leaves it in the lowest bits."""
    t = x * 1.44269504088896341 + 12582912.0
    n = t - 12582912.0
    rest = x + n * -0.693359375
    rest = rest + n * 2.12194440e-4
    p = torch.full_like(rest, 1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * rest + coefficient
    p = rest * rest * p + rest + 1
    return ((t.view(torch.int32) << 23) + p.view(torch.int32)).view(torch.float32)
