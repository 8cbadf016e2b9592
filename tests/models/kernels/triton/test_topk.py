"""The Triton top-k against brute force, at shapes small enough for the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.models.kernels.triton.device import DEVICE
from tests.support.softmaxes import check, make_integers, make_softmax, true_logprobs

from models.softmax.adaptive_softmax import AdaptiveSoftmax  # isort: skip
from models.softmax.topk import TopK  # isort: skip
from models.kernels.triton.buffers import Tuning  # isort: skip
from models.kernels.triton.kernel import TritonKernel  # isort: skip

SHAPES = {
    "plain softmax": (24, [150], []),
    "one word": (8, [1], []),
    "one cluster of one word": (20, [70, 1], [(1, 5)]),
    "two large clusters": (40, [130, 200, 333], [(1, 17), (1, 9)]),
    "tails wider than the rows": (16, [40, 64, 65], [(2, 48)]),
    "many small clusters": (24, [100] + [7, 1, 12, 3, 30] * 20, [(60, 12), (40, 4)]),
    "more clusters than words in the head": (16, [5] + [9] * 30, [(30, 8)]),
}


def build(
    softmax: AdaptiveSoftmax, dtype: torch.dtype = torch.float32, max_rows: int = 16, **tuning: int
) -> TritonKernel:
    """A kernel for `softmax`, whose weights are rounded to `dtype` first."""
    for weight in (softmax.head, *softmax.projections, *softmax.tails):
        weight.copy_(weight.to(dtype))
    return TritonKernel(softmax.to(DEVICE), dtype, max_rows, tuning=Tuning(**tuning))


def compete(softmax: AdaptiveSoftmax) -> AdaptiveSoftmax:
    """Makes the clusters about as probable as the best words, so that tail words are answered."""
    softmax.head[softmax.shortlist :].mul_(3)
    return softmax


def rows(n: int, d: int, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def on_cpu(found: TopK) -> TopK:
    return TopK(*(part.cpu() for part in found))


def search(
    kernel: TritonKernel,
    hidden: Tensor,
    k: int | Sequence[int],
    allowed: Sequence[Tensor | None] | None = None,
) -> TopK:
    sets = None if allowed is None else [None if ids is None else ids.to(DEVICE) for ids in allowed]
    return on_cpu(kernel.topk(hidden.to(DEVICE), k, sets))


def verify(
    softmax: AdaptiveSoftmax, found: TopK, hidden: Tensor, ks: Sequence[int], *allowed: object
) -> None:
    check(found, true_logprobs(softmax.to("cpu"), hidden, *allowed), ks)


@pytest.mark.parametrize("name", SHAPES)
def test_equals_brute_force(name: str) -> None:
    d, sizes, bands = SHAPES[name]
    softmax = make_softmax(d, sizes, bands, bias=len(sizes) % 2 == 1)
    hidden, k = rows(1, d), min(10, sum(sizes))
    verify(softmax, search(build(softmax), hidden, k), hidden, [k])


@pytest.mark.parametrize("name", [name for name, (_, sizes, _) in SHAPES.items() if len(sizes) > 2])
def test_equals_brute_force_where_tail_words_compete(name: str) -> None:
    d, sizes, bands = SHAPES[name]
    softmax = compete(make_softmax(d, sizes, bands, bias=len(sizes) % 2 == 0, excluded=[sizes[0] + 1]))
    hidden = rows(2, d)
    found = search(build(softmax), hidden, 10)
    verify(softmax, found, hidden, [10, 10])
    assert (found.ids >= sizes[0]).any(), "no tail word was answered"


@pytest.mark.parametrize("blas_rows", [0, 64], ids=["cuBLAS head", "own head"])
@pytest.mark.parametrize("k", [1, 17, 140])
def test_every_size_of_k(k: int, blas_rows: int) -> None:
    softmax = compete(make_softmax(24, [200, 90, 110], [(2, 12)], excluded=[0]))
    hidden = rows(1, 24, seed=k)
    found = search(build(softmax, blas_rows=blas_rows), hidden, k)
    verify(softmax, found, hidden, [k])


def test_k_of_the_whole_vocabulary() -> None:
    softmax = make_softmax(16, [30, 20, 15], [(1, 8), (1, 8)], excluded=[3, 31])
    hidden = rows(1, 16)
    verify(softmax, search(build(softmax), hidden, 65), hidden, [65])


def test_k_differs_by_row() -> None:
    softmax = make_softmax(24, [100, 90, 110], [(2, 12)])
    hidden, ks = rows(4, 24), [3, 1, 16, 7]
    verify(softmax, search(build(softmax), hidden, ks), hidden, ks)


@pytest.mark.parametrize(
    ("dtype", "blas_rows"), [(torch.float32, 64), (torch.bfloat16, 64), (torch.bfloat16, 0)], ids=str
)
def test_ties_go_to_the_smaller_id(dtype: torch.dtype, blas_rows: int) -> None:
    softmax = make_integers(make_softmax(16, [90, 80, 70], [(1, 8), (1, 4)]))
    hidden = torch.randint(-1, 2, (2, 16), generator=torch.Generator().manual_seed(5)).float()
    hidden[1] = 0  # every word of a section as probable as any other
    kernel = build(softmax, dtype, blas_rows=blas_rows)
    verify(softmax, search(kernel, hidden.to(dtype), 12), hidden, [12, 12])


@pytest.mark.parametrize("blas_rows", [0, 64], ids=["cuBLAS head", "own head"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bit_weights(dtype: torch.dtype, blas_rows: int) -> None:
    softmax = compete(make_softmax(32, [160, 120, 140], [(1, 24), (1, 8)], excluded=[0, 170]))
    kernel = build(softmax, dtype, blas_rows=blas_rows)
    hidden = rows(2, 32)
    for given in (hidden.to(dtype), hidden):
        exact = given.float()
        truth = true_logprobs(softmax.to("cpu"), exact)
        found = search(kernel, given, 10)
        # Float32 rows, and the projected rows always, are two terms of 8 or 11 bits.
        bound = 5e-4 if dtype == torch.bfloat16 else 2e-5
        mine = truth.gather(1, found.ids)
        best = truth.sort(dim=1, descending=True, stable=True)
        assert (mine - best.values[:, :10]).abs().max() <= bound
        assert (found.logprobs - mine).abs().max() <= bound
        clear = (best.values[:, :10] - best.values[:, 1:11]) > 2 * bound
        clear[:, 1:] &= clear[:, :-1].clone()
        assert clear.float().mean() > 0.5
        assert (found.ids == best.indices[:, :10])[clear].all()


def test_every_batch_size_gives_a_row_the_same_words() -> None:
    softmax = make_softmax(24, [100, 90, 110], [(2, 12)])
    kernel, hidden = build(softmax, max_rows=4, blas_rows=2), rows(5, 24)
    found = search(kernel, hidden, 5)  # 4 rows with a cuBLAS head, then 1 with the other
    verify(softmax, found, hidden, [5] * 5)
    assert torch.equal(search(kernel, hidden[3:4], 5).ids[0], found.ids[3])


@pytest.mark.parametrize("blas_rows", [0, 64], ids=["cuBLAS head", "own head"])
def test_allowed_words(blas_rows: int) -> None:
    softmax = compete(make_softmax(24, [70, 90, 50, 40], [(1, 12), (2, 6)], excluded=[7, 33]))
    hidden = rows(6, 24)
    allowed = [
        None,
        torch.arange(0, 250, 7),
        torch.tensor([31, 32, 33, 63, 249]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(70, 160),
        torch.tensor([7]),
    ]
    kernel = build(softmax, blas_rows=blas_rows)
    found = search(kernel, hidden, 6, allowed)
    verify(softmax, found, hidden, [6] * 6, allowed)
    assert not found.expanded[3].any(), "opened a cluster for a row without words"
    assert not found.expanded[4, 1:].any(), "opened a cluster without an allowed word"
    verify(softmax, search(kernel, hidden[:2], 6), hidden[:2], [6, 6])


def test_a_cluster_of_excluded_words_stays_shut() -> None:
    softmax = make_softmax(16, [10, 6, 20], [(2, 8)], excluded=range(10, 16))
    hidden = rows(2, 16)
    found = search(build(softmax), hidden, 20)
    verify(softmax, found, hidden, [20, 20])
    assert found.expanded.tolist() == [[False, True]] * 2


def test_only_clusters_that_compete_are_opened() -> None:
    softmax = make_softmax(24, [100, 90, 110], [(1, 12), (1, 12)], scale=1.0)
    softmax.head[101] = -softmax.head[100]  # one of the two can never be probable
    hidden = 8 * softmax.head[100:101] / softmax.head[100].norm()
    found = search(build(softmax), hidden, 10)
    verify(softmax, found, hidden, [10])
    assert found.expanded.tolist() == [[True, False]]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, which interprets
def test_a_row_that_is_not_finite_disturbs_no_other() -> None:
    softmax = make_softmax(24, [100, 90, 110], [(2, 12)])
    hidden = rows(3, 24)
    kernel = build(softmax)
    good = search(kernel, hidden, 5)
    hidden[1] = torch.nan
    found = search(kernel, hidden, 5)
    assert torch.equal(found.ids[[0, 2]], good.ids[[0, 2]])


def test_where_it_was_made_does_not_matter() -> None:
    softmax = make_softmax(24, [100, 30], [(1, 12)])
    with torch.inference_mode():
        kernel = build(softmax)
    hidden = rows(1, 24)
    verify(softmax, search(kernel, hidden, 5), hidden, [5])


@pytest.mark.skipif(DEVICE.type == "cuda", reason="a GPU's order is its own")
def test_programs_may_run_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    softmax = compete(make_softmax(24, [70, 90, 50, 40], [(1, 12), (2, 6)]))
    kernel, hidden = build(softmax), rows(3, 24)
    want = search(kernel, hidden, 6)
    assert want.expanded.any()
    # The interpreter's loops over the grid are its only loops here whose order is not numpy's.
    monkeypatch.setattr(interpreter, "range", lambda *ends: reversed(range(*ends)), raising=False)
    found = search(kernel, hidden, 6)
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


def test_no_rows() -> None:
    kernel = build(make_softmax(24, [100, 90, 110], [(2, 12)]))
    for allowed in (None, []):
        found = search(kernel, torch.empty(0, 24), 5, allowed)
        assert [tuple(part.shape) for part in found] == [(0, 1), (0, 1), (0, 2)]


def test_memory_does_not_grow_with_rows_times_words() -> None:
    softmax = make_softmax(16, [200, 20000, 30000], [(2, 4)])
    kernel = build(softmax, torch.float16, max_rows=64)
    search(kernel, rows(1, 16), 10)
    # A tail tile of 64 words has 20 bytes, a word of the head 4 twice and a 64th of 8.
    a_row = 20 * (50200 // 64) + 9 * 512 + 8 * 18 * 64 + 4096
    assert kernel.search.nbytes < 64 * a_row
    assert kernel.search.nbytes < 64 * 4 * 50200 / 3


def test_what_cannot_be_asked() -> None:
    kernel = build(make_softmax(24, [100, 90, 110], [(2, 12)]))
    hidden = rows(2, 24)
    for k, allowed in ((0, None), (301, None), ([1], None), ([5, 301], None), (5, [None])):
        with pytest.raises(ValueError, match="must"):
            search(kernel, hidden, k, allowed)
    with pytest.raises(ValueError, match="hidden must be"):
        search(kernel, hidden[:, 1:], 5)


def test_a_larger_k_goes_to_the_reference() -> None:
    softmax = make_softmax(8, [1000, 300], [(1, 4)])
    hidden = rows(1, 8)
    verify(softmax, search(build(softmax), hidden, 1100), hidden, [1100])
