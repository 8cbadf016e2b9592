"""Products of 8-bit numbers and the cells between them: how they round, and how near the truth they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.bodies.integer_products import (
    PAIR_MAX,
    IntegerMatrix,
    cell,
    fits_pairs,
    quantize_activations,
    quantize_rows,
    to_half,
)
from tests.support import integer_lstm as reference

VALUES = st.floats(-1e6, 1e6, width=32)


@given(st.data(), st.integers(1, 9), st.integers(1, 5))
def test_weights_are_near_and_fit(data: st.DataObject, columns: int, rows: int) -> None:
    values = data.draw(st.lists(VALUES, min_size=rows * columns, max_size=rows * columns))
    weight = torch.tensor(values).reshape(rows, columns)
    codes, scale = quantize_rows(weight)
    assert fits_pairs(codes)
    error = (codes.double() * scale.double()[:, None] - weight.double()).abs()
    assert bool((error <= scale.double()[:, None] * 0.5001).all() | (scale == 0).any())
    # No more is lost than pairs ask for: the scale is 1.27 times that of full 8 bits for equal neighbors.
    assert bool((scale <= weight.abs().amax(1) / 127 * 2.01).all())


def test_rows_of_zeros_and_full_range() -> None:
    codes, scale = quantize_rows(torch.tensor([[0.0, 0.0], [1.0, -1.0], [1e-35, 0.0]]))
    assert codes.tolist() == [[0, 0], [127, -127], [0, 0]]
    assert scale.tolist() == [0.0, float(np.float32(1) / np.float32(127)), 0.0]


def test_pairs_that_do_not_fit() -> None:
    assert fits_pairs(torch.tensor([[64, 64, -64, -64, 127, -127]], dtype=torch.int8))
    assert PAIR_MAX * 255 < 2**15
    for pair in ([65, 64], [-65, -64], [127, 127], [-128, -128]):
        assert not fits_pairs(torch.tensor([[0, 0, *pair]], dtype=torch.int8))


def test_activations_are_rounded_to_even() -> None:
    codes, scale = quantize_activations(torch.tensor([[127.0, 0.5, 1.5, -2.5, 3.49], [0.0] * 5]))
    assert codes.tolist() == [[127, 0, 2, -2, 3], [0] * 5]
    assert scale.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("columns", [7, 1032, 1033, 5000])
def test_sums_of_any_length_are_exact(columns: int) -> None:
    matrix = IntegerMatrix(columns, 2)
    matrix.weight.data = torch.tensor([[64, 64], [127, 0]], dtype=torch.int8).repeat(1, columns)[:, :columns]
    matrix.scale.data = torch.tensor([1.0, 1.0])
    rows = torch.full((1, columns), 127.0)
    rows[0, 0] = 126.0
    sums = (matrix.weight.long() * rows.long()).sum(1)
    assert torch.equal(matrix(rows)[0], sums.float())


def test_halves() -> None:
    values = torch.tensor([1e6, -1e6, 65519.9, 1.00048828125, 2.0**-25, 3 * 2.0**-25, -0.0])
    assert to_half(values).tolist() == [65504, -65504, 65504, 1.0, 0.0, 2.0**-23, 0.0]


def test_the_cell_is_the_lstm_s() -> None:
    torch.manual_seed(0)
    for size in (0.1, 1.0, 4.0, 12.0, 100.0):
        gates, c = torch.randn(64, 4 * 9) * size, torch.randn(64, 9)
        after, h = cell(gates, c)
        put, forget, fresh, out = gates.double().chunk(4, 1)
        want = forget.sigmoid() * c.double() + put.sigmoid() * fresh.tanh()
        torch.testing.assert_close(after.double(), want, atol=1e-6, rtol=2e-6)
        torch.testing.assert_close(h.double(), out.sigmoid() * want.tanh(), atol=1e-6, rtol=2e-6)


def test_the_cell_has_the_reference_s_bits() -> None:
    torch.manual_seed(1)
    gates, c = torch.randn(200, 40) * torch.logspace(-2, 3, 200)[:, None], torch.randn(200, 10) * 3
    for found, want in zip(cell(gates, c), reference.cell(gates.numpy(), c.numpy()), strict=True):
        assert torch.equal(found, torch.from_numpy(want))
