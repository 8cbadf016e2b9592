"""The certificate of the fast mode: ids in the exact order, log-probabilities within the bound it returns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.weights import spectral_loss
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from tests.support.softmaxes import LEVELS, check, make_softmax, needs_extension, true_logprobs

pytestmark = needs_extension


def layer() -> AdaptiveSoftmax:
    return make_softmax(96, (800, 300, 400), ((1, 48), (1, 24)), bias=True, excluded=(0,), scale=2.0)


def peaked(softmax: AdaptiveSoftmax, n: int, seed: int) -> Tensor:
    """Rows near some words' vectors, at very different norms."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(softmax.shortlist, (n, 3), generator=generator)
    rows = softmax.head[words].sum(1) + torch.randn(n, softmax.head.shape[1], generator=generator)
    return rows * torch.logspace(-2, 1, n)[torch.randperm(n, generator=generator), None]


def prove(softmax: AdaptiveSoftmax, rows: int, batch: int) -> float:
    """Never violated; how many times the worst error the largest bound is."""
    kernel = CpuKernel(softmax, "fast")
    worst = largest = 0.0
    for seed in range(rows // batch):
        hidden = peaked(softmax, batch, seed)
        found, bound = kernel.topk_bounded(hidden, 10)
        truth = true_logprobs(softmax, hidden)
        check(found, truth, [10] * batch, bound)
        error = (found.logprobs - truth.gather(1, found.ids)).abs().max()
        worst, largest = max(worst, float(error)), max(largest, float(bound.max()))
    return largest / worst


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 2, 5, 300])
def test_scores_stay_within_their_bound(level: str, rows: int) -> None:
    softmax = layer()
    hidden, targets = peaked(softmax, 300, rows)[:rows], torch.randint(1, 1500, (rows,))
    found, bound = CpuKernel(softmax, "fast", level).target_logprobs_bounded(hidden, targets)
    want = true_logprobs(softmax, hidden).gather(1, targets[:, None])[:, 0]
    assert ((found - want).abs() <= bound + 1e-4).all()
    assert (bound > 0).all()
    assert (CpuKernel(softmax, "exact", level).target_logprobs_bounded(hidden, targets)[1] == 0).all()


def test_never_violated() -> None:
    prove(layer(), rows=4000, batch=500)
    prove(layer(), rows=1000, batch=2)  # few rows are coded in two planes


@pytest.mark.slow
def test_never_violated_in_100_000_rows() -> None:
    assert prove(layer(), rows=95_000, batch=1000) <= 20
    prove(layer(), rows=5_000, batch=2)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 13])
def test_the_bound_means_something(level: str, rows: int) -> None:
    softmax = layer()
    hidden = peaked(softmax, 50, 0)[:rows]
    _, bound = CpuKernel(softmax, "fast", level).topk_bounded(hidden, 10)
    assert (bound > 0).all()
    exact = CpuKernel(softmax, "exact", level).topk(hidden, 10)
    fast = CpuKernel(softmax, "fast", level).topk(hidden, 10)
    assert torch.equal(exact.ids, fast.ids)
    assert torch.equal(exact.expanded, fast.expanded)
    assert ((exact.logprobs - fast.logprobs).abs().amax(1) <= bound + 1e-5).all()


@pytest.mark.parametrize("scale", [30.0, 1e3, 1e6, 1e12])
def test_rows_too_long_for_8_bits(scale: float) -> None:
    softmax = layer()
    hidden = peaked(softmax, 20, 0) * scale
    kernel, exact = CpuKernel(softmax, "fast"), CpuKernel(softmax, "exact").topk(hidden, 5)
    found, bound = kernel.topk_bounded(hidden, 5)
    assert torch.equal(found.ids, exact.ids)
    error = (found.logprobs - exact.logprobs).abs().amax(1)
    assert (error <= bound + 1e-5 * exact.logprobs.abs().amax(1) + 1e-5).all()
    scores, bounds = kernel.target_logprobs_bounded(hidden, found.ids[:, 0])
    error = (scores - exact.logprobs[:, 0]).abs()
    assert (error <= bounds + 1e-5 * exact.logprobs[:, 0].abs() + 1e-4).all()


def test_the_residuals_of_all_words_together() -> None:
    """The singular value is that of what the codes lose, computed here from them."""
    rows = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    rows[7] = 0
    scale = rows.abs().amax(1, keepdim=True) / 127
    lost = rows - torch.where(scale > 0, (rows / scale).round(), 0) * scale
    assert spectral_loss(rows) == pytest.approx(float(torch.linalg.matrix_norm(lost.double(), 2)), rel=2e-3)
    assert spectral_loss(rows) >= torch.linalg.matrix_norm(lost.double(), 2)
    assert spectral_loss(torch.zeros(3, 4)) == 0


def test_zero_rows_and_words() -> None:
    softmax = make_softmax(20, (90,), scale=1.0)
    softmax.head[3] = 0
    hidden = torch.zeros(3, 20)
    found, bound = CpuKernel(softmax, "fast").topk_bounded(hidden, 5)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4]] * 3
    torch.testing.assert_close(found.logprobs, torch.full((3, 5), -torch.tensor(90.0).log().item()))
    assert (bound < 1e-3).all()
