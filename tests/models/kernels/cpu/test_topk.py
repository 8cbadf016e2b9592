"""Top-k of the CPU kernels against brute force in float64: random shapes, every instruction set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.kernels.cpu.kernel import CpuKernel, Mode
from tests.support.softmaxes import (
    LEVELS,
    check,
    make_integers,
    make_softmax,
    needs_extension,
    true_logprobs,
)

pytestmark = needs_extension
MODES: tuple[Mode, ...] = ("exact", "fast")


@dataclass(frozen=True)
class Shape:
    d: int
    sizes: tuple[int, ...]
    bands: tuple[tuple[int, int], ...]
    bias: bool
    excluded: tuple[int, ...]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    clusters = draw(st.one_of(st.integers(0, 8), st.integers(0, 200)))
    largest = 400 if clusters <= 8 else 12
    random = Random(draw(st.integers(0, 99)))
    sizes = [random.randint(1, 300)] + [random.randint(1, largest) for _ in range(clusters)]
    bands: list[tuple[int, int]] = []
    left = clusters
    while left:
        n = draw(st.integers(1, left)) if len(bands) < 3 else left
        bands.append((n, draw(st.sampled_from([0, 1, 3, 16, 33, 48, 64, 70]))))
        left -= n
    excluded = draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=6, unique=True))
    return Shape(draw(st.integers(1, 90)), tuple(sizes), tuple(bands), draw(st.booleans()), tuple(excluded))


def rows_of(n: int, d: int, seed: int = 0, scale: float = 1.5) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=25, deadline=None)
@given(shape=shapes(), data=st.data())
def test_any_shape(level: str, shape: Shape, data: st.DataObject) -> None:
    softmax = make_softmax(shape.d, shape.sizes, shape.bands, shape.bias, excluded=shape.excluded)
    words, n = sum(shape.sizes), data.draw(st.integers(1, 17), label="rows")
    hidden = rows_of(n, shape.d, data.draw(st.integers(0, 1000), label="seed"))
    ks = [data.draw(st.integers(1, min(words, 1000)), label="k") for _ in range(n)]
    allowed = None
    if data.draw(st.booleans(), label="with allowed"):
        generator = torch.Generator().manual_seed(len(ks))
        allowed = [
            None if share is None else (torch.rand(words, generator=generator) < share).nonzero()[:, 0]
            for share in (data.draw(st.sampled_from([None, 0.0, 0.02, 0.5, 1.0])) for _ in ks)
        ]
    truth = true_logprobs(softmax, hidden, allowed)
    reference = softmax.topk(hidden, ks, allowed)
    for mode in MODES:
        found, bound = CpuKernel(softmax, mode, level).topk_bounded(hidden, ks, allowed)
        check(found, truth, ks, bound)
        # The same clusters, but for rounding at the gate.
        assert (found.expanded != reference.expanded).sum() <= 1 + found.expanded.numel() // 50
        assert mode == "fast" or (bound == 0).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", MODES)
def test_ties_go_to_the_smaller_id(level: str, mode: Mode) -> None:
    for seed in range(6):
        softmax = make_integers(
            make_softmax(9, (70, 40, 90, 1, 200), ((2, 5), (2, 3)), bias=seed % 2 == 0), seed
        )
        hidden = torch.randint(-1, 2, (7, 9), generator=torch.Generator().manual_seed(seed)).float()
        truth = true_logprobs(softmax, hidden)
        for k in (1, 10, 64, 300):
            found, bound = CpuKernel(softmax, mode, level).topk_bounded(hidden, k)
            check(found, truth, [k] * 7, bound)
    everywhere = make_softmax(4, (150, 30), ((1, 2),), scale=0.0)
    found = CpuKernel(everywhere, mode, level).topk(torch.ones(2, 4), 40)
    assert found.ids.tolist() == [list(range(40))] * 2


@pytest.mark.parametrize("mode", MODES)
def test_head_ties_are_exact(mode: Mode) -> None:
    """Without clusters integer logits are exact in float32, so ids must equal a stable sort."""
    softmax = make_integers(make_softmax(11, (500,), excluded=(0, 3)), 1)
    hidden = torch.randint(-2, 3, (33, 11), generator=torch.Generator().manual_seed(0)).float()
    logits = (hidden @ softmax.head.T).masked_fill(softmax.excluded, -torch.inf)
    for k in (1, 7, 8, 9, 100, 498):
        ids = logits.sort(dim=1, descending=True, stable=True).indices[:, :k]
        for level in LEVELS:
            assert torch.equal(CpuKernel(softmax, mode, level).topk(hidden, k).ids, ids)


@pytest.mark.parametrize("k", [1, 10, 100, 1000, 5000])
@pytest.mark.parametrize("mode", MODES)
def test_larger_layers(k: int, mode: Mode) -> None:
    softmax = make_softmax(100, (1500, 700, 5000, 9000), ((1, 50), (2, 20)), excluded=(0, 1600), scale=3.0)
    hidden = rows_of(9, 100, scale=2.0)
    found, bound = CpuKernel(softmax, mode).topk_bounded(hidden, k)
    check(found, true_logprobs(softmax, hidden), [k] * 9, bound)


@pytest.mark.parametrize("mode", MODES)
def test_a_plain_softmax_of_50_000_words_with_biases(mode: Mode) -> None:
    """As imported from scripts that know no clusters."""
    softmax = make_softmax(48, (50_000,), bias=True, excluded=(1,), scale=3.0)
    hidden = rows_of(9, 48)
    truth = true_logprobs(softmax, hidden)
    kernel = CpuKernel(softmax, mode)
    for k in (1, 10, 1000):
        found, bound = kernel.topk_bounded(hidden, k)
        check(found, truth, [k] * 9, bound)
    targets = torch.arange(9) * 5000 + 3
    scores, bound = kernel.target_logprobs_bounded(hidden, targets)
    errors = (scores - truth.gather(1, targets[:, None])[:, 0]).abs()
    assert (errors <= bound + 1e-4).all()
    assert mode == "fast" or (bound == 0).all()


def test_a_cluster_too_large_to_keep_its_logits() -> None:
    """More logits than are stored: the surviving groups' are made again."""
    softmax = make_softmax(16, (50, 70_000), ((1, 6),), scale=4.0, excluded=(60, 61, 70_049), seed=3)
    hidden = rows_of(12, 16, scale=2.0)
    for mode in MODES:
        for allowed in (None, [torch.arange(i, 70_050, 17) for i in range(12)]):
            found, bound = CpuKernel(softmax, mode).topk_bounded(hidden, 25, allowed)
            check(found, true_logprobs(softmax, hidden, allowed), [25] * 12, bound)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [1, 2, 9, 40])
def test_wide_clusters_are_screened_first(mode: Mode, rows: int) -> None:
    """Opened clusters: some without a word among the best, some with, by a little or by far."""
    softmax = make_softmax(64, (100, 640, 500, 65, 64, 3), ((3, 64), (2, 50)), bias=True, excluded=(101,))
    for scale in (0.3, 1.0, 3.0):
        hidden = rows_of(rows, 64, seed=rows, scale=scale)
        truth = true_logprobs(softmax, hidden)
        for k in (1, 10, 90):
            found, bound = CpuKernel(softmax, mode).topk_bounded(hidden, k)
            check(found, truth, [k] * rows, bound)
            assert (found.expanded != softmax.topk(hidden, k).expanded).sum() <= 1
    from_tails = (found.ids >= 100).any(1)
    assert from_tails.any()
    assert found.expanded.any()


def test_the_same_bits_alone_in_a_batch_and_with_any_vector_width() -> None:
    softmax = make_softmax(130, (900, 300, 400), ((2, 33),), bias=True)
    hidden = rows_of(70, 130)
    whole = CpuKernel(softmax).topk(hidden, 20)
    for row in (0, 5, 63, 64, 69):
        alone = CpuKernel(softmax).topk(hidden[row : row + 1], 20)
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, whole, strict=True))
    for level in set(LEVELS) - {"scalar"}:
        other = CpuKernel(softmax, level=level).topk(hidden, 20)
        assert all(torch.equal(a, b) for a, b in zip(other, whole, strict=True))


def test_float16_panels_lose_nothing() -> None:
    softmax = make_softmax(64, (500, 300), ((1, 32),))
    for weight in softmax.parameters():
        weight.copy_(weight.half().float())
    flat = softmax.head.view(-1)
    flat[:4] = torch.tensor([2.0**-24, -6.1e-5, 65504.0, 0.0]).half().float()  # subnormals and the largest
    hidden = rows_of(8, 64)
    hidden[:, 2] = 0
    kernel = CpuKernel(softmax, level="")
    assert "float16" in kernel.description or kernel.level == "scalar"
    check(kernel.topk(hidden, 30), true_logprobs(softmax, hidden), [30] * 8)
    softmax.head[5, 5] = 0.1  # not a float16 number
    assert "float32 panels" in CpuKernel(softmax).description


@pytest.mark.parametrize("mode", MODES)
def test_many_threads_at_once(mode: Mode) -> None:
    softmax = make_softmax(64, (3000, 500, 5000), ((1, 32), (1, 16)), scale=3.0)
    kernel = CpuKernel(softmax, mode, threads=2)
    batches = [rows_of(1 + i % 9, 64, seed=i) for i in range(40)]
    want = [CpuKernel(softmax, mode, threads=1).topk(hidden, 10) for hidden in batches]
    targets = [torch.arange(len(hidden)) * 900 for hidden in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda hidden: kernel.topk(hidden, 10), batches))
        scores = list(pool.map(kernel.target_logprobs, batches, targets))
    for one, other in zip(found, want, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for hidden, target, score in zip(batches, targets, scores, strict=True):
        alone = CpuKernel(softmax, mode, threads=1).target_logprobs(hidden, target)
        torch.testing.assert_close(score, alone, atol=1e-5, rtol=0)
