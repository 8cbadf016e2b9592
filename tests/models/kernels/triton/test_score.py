"""The Triton scorer against torch's own module and the reference, interpreted on the CPU or on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.kernels.triton.device import DEVICE
from tests.support.softmaxes import make_softmax

from models.softmax.adaptive_softmax import AdaptiveSoftmax  # isort: skip
from models.kernels.base import Kernel  # isort: skip
from models.kernels.triton.kernel import TritonKernel, best_dtype  # isort: skip
from models.kernels.triton.scorer import ScoreTuning  # isort: skip

TUNING = ScoreTuning(block_b=32, tail_block_b=16, tail_tiles=2)


def build(softmax: AdaptiveSoftmax, dtype: torch.dtype = torch.float32) -> TritonKernel:
    for weight in (softmax.head, *softmax.projections, *softmax.tails):
        weight.copy_(weight.to(dtype))
    return TritonKernel(softmax.to(DEVICE), dtype, 16, score_tuning=TUNING)


def score(kernel: TritonKernel, hidden: Tensor, targets: Tensor) -> Tensor:
    return kernel.target_logprobs(hidden.to(DEVICE), targets.to(DEVICE)).cpu()


def cases(n: int, d: int, words: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, d, generator=generator), torch.randint(0, words, (n,), generator=generator)


def test_equals_torchs_module() -> None:
    module = nn.AdaptiveLogSoftmaxWithLoss(32, 500, [100, 250, 330], div_value=2.0).requires_grad_(False)
    softmax = make_softmax(32, [100, 150, 80, 170], [(1, 16), (1, 8), (1, 4)])
    softmax.head.copy_(module.head.weight)
    for projection, tail, pair in zip(softmax.projections, softmax.tails, module.tail, strict=True):
        projection.copy_(pair[0].weight)
        tail.copy_(pair[1].weight)
    hidden, targets = cases(50, 32, 500)
    want = module(hidden, targets).output
    assert (score(build(softmax), hidden, targets) - want).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("d", "sizes", "bands"),
    [
        (24, [150], []),
        (8, [1], []),
        (20, [70, 1], [(1, 5)]),
        (40, [130, 200, 333], [(1, 17), (1, 9)]),
        (24, [100] + [7, 1, 12, 3, 30] * 20, [(60, 12), (40, 4)]),
    ],
    ids=["plain softmax", "one word", "one cluster of one word", "two large clusters", "100 small clusters"],
)
def test_equals_the_reference(d: int, sizes: list[int], bands: list[tuple[int, int]]) -> None:
    softmax = make_softmax(d, sizes, bands, bias=True, excluded=[0])
    kernel = build(softmax)
    for n in (1, 45):
        hidden, targets = cases(n, d, sum(sizes))
        want = softmax.to("cpu").target_logprobs(hidden, targets)
        assert (score(kernel, hidden, targets) - want).abs().max() <= 1e-5 + 1e-6 * want.abs().max()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 1e-3), (torch.float16, 2e-5)], ids=str)
def test_sixteen_bit_weights(dtype: torch.dtype, bound: float) -> None:
    softmax = make_softmax(32, [160, 120, 140], [(1, 24), (1, 8)])
    kernel = build(softmax, dtype)
    hidden, targets = cases(40, 32, 420)
    for given in (hidden.to(dtype), hidden):
        want = softmax.to("cpu").target_logprobs(given.float(), targets)
        found = score(kernel, given, targets)
        assert found.dtype == torch.float32
        assert (found - want).abs().max() <= bound


def test_every_word_of_a_row_sums_to_one() -> None:
    softmax = make_softmax(16, [60, 40, 33], [(2, 8)])
    hidden = torch.randn(1, 16, generator=torch.Generator().manual_seed(0)).expand(133, 16)
    found = score(build(softmax), hidden, torch.arange(133))
    assert abs(float(found.exp().sum()) - 1) <= 1e-5


def test_a_target_outside_the_vocabulary_scores_nan_alone() -> None:
    softmax = make_softmax(16, [60, 40], [(1, 8)])
    hidden, targets = cases(6, 16, 100)
    targets[1], targets[4] = 100, -1
    found = score(build(softmax), hidden, targets)
    assert found.isnan().tolist() == [False, True, False, False, True, False]


def test_no_rows() -> None:
    kernel = build(make_softmax(16, [60, 40], [(1, 8)]))
    assert score(kernel, torch.empty(0, 16), torch.empty(0, dtype=torch.int64)).shape == (0,)


def test_what_cannot_be_asked() -> None:
    kernel = build(make_softmax(16, [60, 40], [(1, 8)]))
    with pytest.raises(ValueError, match="hidden must be"):
        score(kernel, torch.zeros(2, 15), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="as many targets"):
        score(kernel, torch.zeros(2, 16), torch.zeros(3, dtype=torch.int64))


def test_it_is_a_kernel_that_says_what_it_does() -> None:
    kernel = build(make_softmax(16, [60, 40], [(1, 8)]), torch.float16)
    assert isinstance(kernel, Kernel)
    assert kernel.name == "triton"
    assert "float16" in kernel.description


def test_a_prepared_kernel_answers_the_same() -> None:
    softmax = make_softmax(16, [60, 4], [(1, 8)])
    kernel = build(softmax)
    hidden, targets = cases(2, 16, 64)
    want = softmax.to("cpu").target_logprobs(hidden, targets)
    kernel.prepare(rows=2)
    assert (score(kernel, hidden, targets) - want).abs().max() <= 1e-5


def test_weights_that_are_halves_are_kept_as_such() -> None:
    softmax = make_softmax(16, [60, 40], [(1, 8)])
    assert best_dtype(softmax) == torch.bfloat16
    for weight in softmax.parameters():
        weight.copy_(weight.half())
    assert best_dtype(softmax) == torch.float16


def test_weights_that_do_not_fit_are_refused() -> None:
    softmax = make_softmax(16, [60, 40], [(1, 8)])
    softmax.head[3, 3] = 1e6
    with pytest.raises(ValueError, match="not finite as"):
        TritonKernel(softmax.to(DEVICE), torch.float16)
