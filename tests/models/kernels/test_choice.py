"""The choice of a kernel, and what it says about itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch

from models.kernels import choice
from models.kernels.base import BoundedKernel, ExactBounds, Kernel
from models.kernels.choice import MeasuredBounds, choose
from models.kernels.cpu import kernel as cpu_kernel
from models.kernels.cpu import weights as cpu_weights
from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.library import KernelError
from tests.support.softmaxes import make_softmax, needs_extension


@needs_extension
def test_takes_the_extension() -> None:
    softmax = make_softmax(64, (400, 200, 300, 3000), ((1, 32), (2, 16)))
    chosen = choose(softmax)
    assert isinstance(chosen.exact, CpuKernel)
    assert chosen.exact.name == "cpu"
    assert set(chosen.microseconds) == {"cpu", "cpu fast", "torch"}
    assert all(time > 0 for times in chosen.microseconds.values() for time in times)
    assert "exact" in chosen.description
    assert "cpu fast" in chosen.description
    assert "int8" in chosen.fast.description
    hidden = torch.randn(5, 64)
    assert torch.equal(chosen.exact.topk(hidden, 7).ids, softmax.topk(hidden, 7).ids)
    targets = torch.tensor([0, 399, 400, 700, 3899])
    want = softmax.target_logprobs(hidden, targets)
    torch.testing.assert_close(chosen.exact.target_logprobs(hidden, targets), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_chosen_are_kernels(device: str) -> None:
    chosen = choose(make_softmax(8, (30, 20), ((1, 4),)), device)
    assert isinstance(chosen.exact, Kernel)
    assert isinstance(chosen.fast, BoundedKernel)


@needs_extension
def test_both_modes_share_the_panels() -> None:
    softmax = make_softmax(64, (400, 200, 300, 3000), ((1, 32), (2, 16)))
    chosen = choose(softmax)
    assert isinstance(chosen.exact, CpuKernel)
    assert isinstance(chosen.fast, MeasuredBounds)
    kernel = chosen.fast.fast
    assert isinstance(kernel, CpuKernel)
    assert kernel.weights is chosen.exact.weights
    assert (chosen.exact.mode, kernel.mode) == ("exact", "fast")
    hidden = torch.randn(5, 64)
    exact = chosen.exact.topk(hidden, 7)
    fast, bound = kernel.topk_bounded(hidden, 7)
    assert torch.equal(fast.ids, exact.ids)
    assert (bound > 0).all()
    assert ((fast.logprobs - exact.logprobs).abs() <= bound[:, None] + 1e-5).all()
    targets = torch.tensor([0, 399, 400, 700, 3899])
    found, bound = kernel.target_logprobs_bounded(hidden, targets)
    assert (bound > 0).all()
    assert ((found - chosen.exact.target_logprobs(hidden, targets)).abs() <= bound + 1e-5).all()


@needs_extension
@pytest.mark.parametrize(("gain", "threads"), [(1.4, 1), (1.6, 2)])
def test_threads_for_one_row_have_to_gain_much(
    monkeypatch: pytest.MonkeyPatch, gain: float, threads: int
) -> None:
    softmax = make_softmax(64, (400, 200), ((1, 32),))
    monkeypatch.setattr(cpu_kernel, "thread_count", lambda: 2)

    def time(kernel: Kernel, rows: torch.Tensor, k: int) -> float:
        return 1 / gain if isinstance(kernel, CpuKernel) and kernel.threads(len(rows)) == 2 else 1.0

    monkeypatch.setattr(choice, "_time", time)
    chosen = choose(softmax)
    assert isinstance(chosen.exact, CpuKernel)
    assert isinstance(chosen.fast, MeasuredBounds)
    assert isinstance(chosen.fast.fast, CpuKernel)
    for kernel in (chosen.exact, chosen.fast.fast):
        assert (kernel.threads(1), kernel.threads(2)) == (threads, 2)
    hidden = torch.randn(1, 64)
    assert torch.equal(chosen.exact.topk(hidden, 5).ids, softmax.topk(hidden, 5).ids)


@needs_extension
def test_a_permission_that_does_not_pay_is_answered_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faster for 16 rows and few words, slower or as fast elsewhere: by a clock that counts what is run."""
    softmax = make_softmax(64, (400, 200, 300, 3000), ((1, 32), (2, 16)))

    def took(call: Callable[[], object]) -> float:
        assert isinstance(call, partial)
        hidden, k = call.args
        fast = call.func.__self__.mode == "fast"
        return 50.0 if fast and len(hidden) == 16 and isinstance(k, int) and k == 10 else 51.0

    monkeypatch.setattr(choice, "_time", lambda kernel, rows, k: 2.0 if kernel.name == "torch" else 1.0)
    monkeypatch.setattr(choice, "_call_time", took)
    chosen = choose(softmax)
    assert isinstance(chosen.fast, MeasuredBounds)
    assert chosen.fast.topk_pays == [[False, False], [False, False], [False, False], [False, False]]
    monkeypatch.setattr(choice, "FAST_GAIN", 0.99)
    chosen = choose(softmax)
    assert isinstance(chosen.fast, MeasuredBounds)
    assert chosen.fast.topk_pays == [[False, False], [False, False], [True, False], [False, False]]
    assert chosen.fast.scoring_pays == [False] * 4
    assert "from 16 rows, k 10; scoring from no rows" in chosen.fast.description
    hidden = torch.randn(70, 64)
    for rows, k, pays in [(1, 10, False), (15, 10, False), (16, 1, True), (63, 99, True), (63, 100, False)]:
        found, bound = chosen.fast.topk_bounded(hidden[:rows], k)
        assert torch.equal(found.ids, chosen.exact.topk(hidden[:rows], k).ids)
        assert bool((bound > 0).all()) == pays
        assert pays or bound.tolist() == [0.0] * rows
    _, bound = chosen.fast.topk_bounded(hidden[:16], [3] * 15 + [200])
    assert bound.tolist() == [0.0] * 16
    assert chosen.fast.topk_bounded(hidden[:0], [])[1].shape == (0,)
    scores, bound = chosen.fast.target_logprobs_bounded(hidden, torch.arange(70))
    assert torch.equal(scores, chosen.exact.target_logprobs(hidden, torch.arange(70)))
    assert bound.tolist() == [0.0] * 70


@needs_extension
def test_the_faster_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax = make_softmax(8, (30,))
    monkeypatch.setattr(choice, "_time", lambda kernel, rows, k: 1.0 if kernel.name == "torch" else 2.0)
    chosen = choose(softmax)
    assert chosen.exact.name == "torch"
    assert chosen.microseconds == {"cpu": (2.0, 2.0), "cpu fast": (2.0, 2.0), "torch": (1.0, 1.0)}


def test_an_interrupted_call_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was busy with something else for a second, during the first call that counts."""
    took = iter([1.0, 2e-5, 3e-5])
    now, running = 0.0, False

    def clock() -> float:
        nonlocal now, running
        now += next(took) if running else 0.0
        running = not running
        return now

    monkeypatch.setattr(choice, "perf_counter", clock)
    assert choice._time(make_softmax(8, (30,)), torch.zeros(1, 8), 3) == pytest.approx(30)


def test_says_so_without_the_extension(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str = "") -> str:
        raise KernelError("the C++ extension was not built")

    monkeypatch.setattr(cpu_weights, "best_level", absent)
    with caplog.at_level(logging.WARNING):
        softmax = make_softmax(8, (30, 20), ((1, 4),))
        chosen = choose(softmax)
    assert chosen.exact is softmax
    assert "not built" in caplog.text
    assert "not built" in chosen.description
    assert chosen.exact.topk(torch.zeros(1, 8), 2).ids.shape == (1, 2)
    assert chosen.exact.target_logprobs(torch.zeros(1, 8), torch.tensor([49])).shape == (1,)


def test_without_a_fast_mode_the_answer_is_exact() -> None:
    softmax = make_softmax(8, (30, 20), ((1, 4),))
    chosen = choose(softmax, "meta")
    assert isinstance(chosen.fast, ExactBounds)
    assert "exactly" in chosen.fast.description
    hidden, targets = torch.randn(3, 8), torch.tensor([0, 29, 49])
    found, bound = chosen.fast.topk_bounded(hidden, 4)
    assert all(map(torch.equal, found, softmax.topk(hidden, 4)))
    assert bound.tolist() == [0, 0, 0]
    scores, bound = chosen.fast.target_logprobs_bounded(hidden, targets)
    assert torch.equal(scores, softmax.target_logprobs(hidden, targets))
    assert bound.tolist() == [0, 0, 0]


def test_other_devices_keep_torch() -> None:
    chosen = choose(make_softmax(8, (30,)), "meta")
    assert chosen.exact.name == "torch"
    assert chosen.description.startswith("torch operators, float32 (")
    assert "no kernel for meta" in chosen.description


def test_the_gpu_does_not_round_weights() -> None:
    pytest.importorskip("triton")
    with pytest.raises(KernelError, match="not float16"):
        choice._kernel(make_softmax(8, (30,)), torch.device("cuda"))


def test_the_gpu_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "models.kernels.triton.kernel", None)
    with pytest.raises(KernelError, match="need Triton"):
        choice._kernel(make_softmax(8, (30,)), torch.device("cuda"))
