"""Target scoring of the CPU kernels against brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kernels.cpu.kernel import CpuKernel
from tests.support.softmaxes import LEVELS, make_softmax, needs_extension, true_logprobs

pytestmark = needs_extension


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=20, deadline=None)
@given(
    d=st.integers(1, 80),
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=9),
    width=st.integers(1, 30),
    bias=st.booleans(),
    rows=st.integers(0, 40),
)
def test_any_shape(level: str, d: int, sizes: list[int], width: int, bias: bool, rows: int) -> None:
    bands = ((len(sizes) - 1, width),) if len(sizes) > 1 else ()
    softmax = make_softmax(d, sizes, bands, bias, excluded=(0,))  # scores ignore the exclusion
    hidden, targets = torch.randn(rows, d), torch.randint(sum(sizes), (rows,))
    found = CpuKernel(softmax, level=level).target_logprobs(hidden, targets)
    softmax.exclude(frozenset())
    want = true_logprobs(softmax, hidden).gather(1, targets[:, None])[:, 0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), want, atol=1e-4, rtol=0)


def test_more_rows_than_a_chunk() -> None:
    softmax = make_softmax(40, (300, 200, 5), ((1, 20), (1, 10)))
    hidden, targets = torch.randn(700, 40), torch.randint(505, (700,))
    want = softmax.target_logprobs(hidden, targets)
    for threads in (1, 2, 3):
        found = CpuKernel(softmax, threads=threads).target_logprobs(hidden, targets)
        torch.testing.assert_close(found, want, atol=1e-4, rtol=0)
    assert torch.equal(found[650:651], CpuKernel(softmax).target_logprobs(hidden[650:651], targets[650:651]))


def test_agrees_with_topk() -> None:
    softmax = make_softmax(40, (300, 200, 1), ((2, 20),), scale=3.0)
    hidden = torch.randn(30, 40)
    kernel = CpuKernel(softmax)
    best = kernel.topk(hidden, 1)
    torch.testing.assert_close(
        kernel.target_logprobs(hidden, best.ids[:, 0]), best.logprobs[:, 0], atol=1e-5, rtol=0
    )
