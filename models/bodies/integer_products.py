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

PAIR_MAX: Final = 128
"""See `fits_pairs`."""

SMALLEST_MAXIMUM: Final = 2.0**-100
"""A row without a larger number counts as zero: 127 over it would overflow."""

_LOG2_E: Final = 1.44269504

_EXP2: Final = (
    *map(
        float.fromhex, ("0x1.62e42ap-1", "0x1.ebf9bcp-3", "0x1.c6b752p-5", "0x1.3cea88p-7", "0x1.5bba14p-10")
    ),
)
"""2^f is 1 + f (_EXP2[0] + f (_EXP2[1] + ...)) within 1.1e-7 of itself for -1/2 <= f <= 1/2: least squares,
reweighted until the largest relative error was least."""

_EXACT: Final = 2**24
"""Sums of integers up to this are exact in float32 in any order."""


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) floats -> int8 that `fits_pairs` and (rows,) float32 scales: their product is near."""
    weight = weight.float()
    # Before rounding, which adds 1/2 at most to each of two weights.
    both = _pair_sums(weight).amax((1, 2)) / (PAIR_MAX - 0.51)
    scale = torch.maximum(weight.abs().amax(1) / WEIGHT_MAX, both)
    some = scale > SMALLEST_MAXIMUM
    codes = (weight / torch.where(some, scale, 1.0)[:, None]).round()
    return torch.where(some[:, None], codes, 0.0).to(torch.int8), torch.where(some, scale, 0.0)


def fits_pairs(weight: Tensor) -> bool:
    """Whether no two neighboring int8 weights (columns 0 and 1, 2 and 3, ...) of one sign exceed `PAIR_MAX`.

    Times activations of 0..255 their sum then fits 16 bits, in which AVX2 adds them.
    """
    return bool((_pair_sums(weight.to(torch.int16)) <= PAIR_MAX).all())


def _pair_sums(weight: Tensor) -> Tensor:
    """(rows, ceil(columns / 2), 2): of each pair the positive and, negated, the negative ones added up."""
    pairs = F.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)
    return torch.stack([pairs.clamp(min=0).sum(2), -pairs.clamp(max=0).sum(2)], 2)


def quantize_activations(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., n) float32 -> float32 integers -127..127, halves to even, and (...) scales, a row each."""
    largest = rows.abs().amax(-1)
    some = largest > SMALLEST_MAXIMUM
    # Tensors: with a number, torch multiplies by the reciprocal, which rounds twice.
    full = torch.full_like(largest, ACTIVATION_MAX)
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

    ``sigmoid(x) = 1 / (1 + e^-x)`` and ``tanh(x) = (1 - e^-2x) / (1 + e^-2x)``, to some units in the last
    place, with two divisions for all.
    """
    put, forget, fresh, out = gates.chunk(4, -1)
    put, forget, out = (_one_and_exp2(x * -_LOG2_E) for x in (put, forget, out))
    fresh = _one_and_exp2(fresh * (-2 * _LOG2_E))
    taken = put * fresh
    after = (c * taken + (2 - fresh) * forget) / (taken * forget)
    shown = _one_and_exp2(after * (-2 * _LOG2_E))
    return after, (2 - shown) / (out * shown)


def _one_and_exp2(y: Tensor) -> Tensor:
    """1 + 2^y, of y up to 40: three such factors stay in float32's range. The integer nearest to y comes out
    of an addition that leaves it in the lowest bits; the rest is a polynomial's."""
    y = y.clamp(-126.0, 40.0)
    t = y + 12582912.0
    rest = y - (t - 12582912.0)
    p = torch.full_like(rest, _EXP2[-1])
    for coefficient in (*_EXP2[-2::-1], 1.0):
        p = p * rest + coefficient
    return 1 + ((t.view(torch.int32) << 23) + p.view(torch.int32)).view(torch.float32)
