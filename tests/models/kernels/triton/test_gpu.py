"""What only a GPU can show of the Triton kernels: real compilation, graphs, no waiting, real sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from models.bundle import DEFAULT, Bundle
from tests.models.kernels.triton.device import DEVICE, needs_gpu
from tests.support.softmaxes import make_integers, make_softmax

from models.softmax.adaptive_softmax import AdaptiveSoftmax  # isort: skip
from models.kernels.triton.kernel import TritonKernel  # isort: skip

pytestmark = [pytest.mark.gpu, needs_gpu]

FEW_LARGE = (512, [6000, 9000, 30000], [(1, 128), (1, 32)])
MANY_SMALL = (256, [2000, *([150] * 60), *([1500] * 40)], [(60, 128), (40, 32)])


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raises where torch waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


every_shape = pytest.mark.parametrize("shape", [FEW_LARGE, MANY_SMALL], ids=["few large", "many small"])
every_precision = pytest.mark.parametrize(
    ("weights", "rows", "bound"),
    [
        (torch.bfloat16, torch.bfloat16, 2e-3),
        (torch.bfloat16, torch.float32, 2e-3),
        (torch.float16, torch.float32, 1e-4),
        (torch.float32, torch.float32, 1e-4),
    ],
    ids=str,
)


def rounded(softmax: AdaptiveSoftmax, dtype: torch.dtype) -> AdaptiveSoftmax:
    for weight in (softmax.head, *softmax.projections, *softmax.tails):
        weight.copy_(weight.to(dtype))
    return softmax.to(DEVICE)


def hidden_rows(n: int, d: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n)).to(DEVICE, dtype)


def verify(softmax: AdaptiveSoftmax, kernel: TritonKernel, hidden: Tensor, k: int, bound: float) -> None:
    """Ids and order are those of brute force wherever neighbors differ by more than twice `bound`."""
    found = kernel.topk(hidden, k)
    for rows in torch.arange(len(hidden), device=DEVICE).split(32):
        truth = softmax.log_prob(hidden[rows].float()).masked_fill(softmax.excluded, -torch.inf)
        best = truth.topk(k + 1)
        mine = truth.gather(1, found.ids[rows])
        assert (mine - best.values[:, :k]).abs().max() <= 2 * bound
        assert (found.logprobs[rows] - mine).abs().max() <= bound
        clear = best.values[:, :k] - best.values[:, 1:] > 4 * bound
        clear[:, 1:] &= clear[:, :-1].clone()
        assert (found.ids[rows] == best.indices[:, :k])[clear].all()


@every_shape
@every_precision
def test_equals_brute_force(
    shape: tuple[int, list[int], list[tuple[int, int]]],
    weights: torch.dtype,
    rows: torch.dtype,
    bound: float,
) -> None:
    d, sizes, bands = shape
    for scale in (0.5, 2.0):  # flat: every cluster opened; peaked: few
        softmax = make_softmax(d, sizes, bands, scale=scale, excluded=[0])
        softmax.head[sizes[0] :].mul_(3)  # tail words compete
        softmax = rounded(softmax, weights)
        kernel = TritonKernel(softmax, weights, max_rows=128)
        for n, k in ((1, 10), (5, 100), (64, 10), (200, 10), (3, 1000)):
            verify(softmax, kernel, hidden_rows(n, d, rows), k, bound)


def test_ties() -> None:
    softmax = rounded(make_integers(make_softmax(64, [3000, 2000, 5000], [(1, 32), (1, 16)])), torch.bfloat16)
    kernel = TritonKernel(softmax, torch.bfloat16, max_rows=128)
    hidden = torch.randint(-1, 2, (100, 64), generator=torch.Generator().manual_seed(1)).to(DEVICE).bfloat16()
    hidden[7] = 0
    for n in (8, 100):
        found = kernel.topk(hidden[:n], 40)
        same = found.logprobs[:, 1:] == found.logprobs[:, :-1]
        assert same.any()
        assert (found.ids[:, 1:] > found.ids[:, :-1])[same].all()
        truth = softmax.log_prob(hidden[:n].float())
        assert (truth.gather(1, found.ids) - truth.topk(40).values).abs().max() <= 1e-4


@pytest.mark.parametrize("n", [1, 16, 64, 65, 1024])
def test_a_graph_answers_as_the_kernels_do(n: int) -> None:
    d, sizes, bands = MANY_SMALL
    softmax = rounded(make_softmax(d, sizes, bands), torch.float16)
    hidden = hidden_rows(n, d, torch.float32)
    graphs = TritonKernel(softmax, torch.float16)
    eager = TritonKernel(softmax, torch.float16, graphs=False)
    want = eager.topk(hidden, 10)
    for _ in range(3):
        found = graphs.topk(hidden, 10)
        assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    fewer = graphs.topk(hidden[: max(1, n - 1)], 7)  # the same graph
    assert torch.equal(fewer.ids, want.ids[: max(1, n - 1), :7])


def test_answers_stay_what_they_were() -> None:
    d, sizes, bands = MANY_SMALL
    kernel = TritonKernel(rounded(make_softmax(d, sizes, bands), torch.float16), torch.float16)
    first = kernel.topk(hidden_rows(8, d, torch.float32), 10)
    kept = first.ids.clone()
    kernel.topk(hidden_rows(7, d, torch.float32), 10)
    assert torch.equal(first.ids, kept)


@pytest.mark.parametrize("n", [1, 64, 300])
def test_nothing_waits_for_the_device(n: int) -> None:
    d, sizes, bands = MANY_SMALL
    kernel = TritonKernel(rounded(make_softmax(d, sizes, bands), torch.float16), torch.float16)
    hidden, targets = hidden_rows(n, d, torch.float32), torch.arange(n, device=DEVICE)
    allowed = [None if row % 3 else torch.arange(row, 9000, 5, device=DEVICE) for row in range(n)]
    ks = [1 + row % 10 for row in range(n)]
    for wait in (True, False):  # compiles and captures, then runs
        with no_waiting() if not wait else torch.inference_mode():
            kernel.topk(hidden, 10)
            kernel.topk(hidden, ks)
            kernel.topk(hidden, 10, allowed)
            kernel.target_logprobs(hidden, targets)


def test_allowed_words_are_those_of_the_reference() -> None:
    d, sizes, bands = MANY_SMALL
    softmax = rounded(make_softmax(d, sizes, bands, excluded=[0]), torch.float16)
    kernel = TritonKernel(softmax, torch.float16)
    for n in (6, 90):
        hidden = hidden_rows(n, d, torch.float32)
        allowed = [None if row % 3 == 0 else torch.arange(row, 71000, 37, device=DEVICE) for row in range(n)]
        found, want = kernel.topk(hidden, 10, allowed), softmax.topk(hidden, 10, allowed)
        assert (found.logprobs - want.logprobs).abs().max() <= 1e-4
        assert (found.ids == want.ids).float().mean() > 0.99


@every_shape
@every_precision
def test_scores_equal_the_reference(
    shape: tuple[int, list[int], list[tuple[int, int]]],
    weights: torch.dtype,
    rows: torch.dtype,
    bound: float,
) -> None:
    d, sizes, bands = shape
    softmax = rounded(make_softmax(d, sizes, bands, bias=True), weights)
    kernel = TritonKernel(softmax, weights)
    for n in (1, 17, 500, 20000):
        hidden = hidden_rows(n, d, rows)
        targets = torch.randint(0, sum(sizes), (n,), device=DEVICE)
        want = softmax.target_logprobs(hidden.float(), targets)
        assert (kernel.target_logprobs(hidden, targets) - want).abs().max() <= bound


def test_scoring_never_holds_logits() -> None:
    d, sizes, bands = FEW_LARGE
    kernel = TritonKernel(rounded(make_softmax(d, sizes, bands), torch.bfloat16), torch.bfloat16)
    hidden = hidden_rows(8192, d, torch.bfloat16)
    targets = torch.randint(0, sum(sizes), (8192,), device=DEVICE)
    kernel.target_logprobs(hidden, targets)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kernel.target_logprobs(hidden, targets)
    used = torch.cuda.max_memory_allocated() - before
    assert used < 8192 * 4 * sizes[0] / 4, "more than a quarter of the head's logits"


@pytest.mark.skipif(not (DEFAULT / "model.safetensors").is_file(), reason="there is no trained model")
def test_the_trained_model() -> None:
    """Log-probabilities, ids and order agree with the float32 reference on rows of the model's own."""
    bundle = Bundle.load(DEFAULT, "cuda")
    model = bundle.model
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(bundle.vocabulary), (64, 24), generator=generator)
    ids = (ids.double() / len(bundle.vocabulary)).pow(3).mul(len(bundle.vocabulary)).long()  # frequent ones
    with torch.inference_mode():
        hidden, _ = model.encode(ids.to(DEVICE), torch.full((64,), 24), model.initial_state(64))
        rows = hidden.flatten(0, 1)
        kernel = TritonKernel(model.softmax, max_rows=256)
        for k in (1, 10, 100):
            verify(model.softmax, kernel, rows, k, 1e-4)
        targets = ids.to(DEVICE).flatten()
        want = model.target_logprobs(rows, targets)
        assert (kernel.target_logprobs(rows, targets) - want).abs().max() <= 2e-4
