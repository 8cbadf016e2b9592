"""The choice of a kernel, and what it says about itself."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from models.kernels import choice, cpu
from models.kernels.base import Kernel, TorchKernel
from models.kernels.choice import choose
from models.kernels.cpu import CpuKernel
from models.kernels.library import KernelError
from tests.models.kernels.softmaxes import make_softmax, needs_extension


@needs_extension
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_takes_the_extension(mode: str) -> None:
    softmax = make_softmax(64, (400, 200, 300, 3000), ((1, 32), (2, 16)))
    chosen = choose(softmax, "cpu", "fast" if mode == "fast" else "exact")
    assert isinstance(chosen, Kernel)
    assert isinstance(chosen.kernel, CpuKernel)
    assert chosen.name == "cpu"
    assert set(chosen.microseconds) == {"cpu", "torch"}
    assert all(time > 0 for times in chosen.microseconds.values() for time in times)
    assert mode in chosen.description
    assert "us" in chosen.description
    hidden = torch.randn(5, 64)
    assert torch.equal(chosen.topk(hidden, 7).ids, softmax.topk(hidden, 7).ids)
    targets = torch.tensor([0, 399, 400, 700, 3899])
    found, bound = chosen.kernel.target_logprobs_bounded(hidden, targets)
    assert torch.equal(chosen.target_logprobs(hidden, targets), found)
    assert ((found - softmax.target_logprobs(hidden, targets)).abs() <= bound + 1e-4).all()


@needs_extension
def test_the_faster_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax = make_softmax(8, (30,))
    monkeypatch.setattr(choice, "_time", lambda kernel, rows, k: 1.0 if kernel.name == "torch" else 2.0)
    chosen = choose(softmax)
    assert chosen.name == "torch"
    assert chosen.microseconds == {"cpu": (2.0, 2.0), "torch": (1.0, 1.0)}


def test_says_so_without_the_extension(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str = "") -> str:
        raise KernelError("the C++ extension was not built")

    monkeypatch.setattr(cpu, "best_level", absent)
    with caplog.at_level(logging.WARNING):
        chosen = choose(make_softmax(8, (30, 20), ((1, 4),)))
    assert isinstance(chosen.kernel, TorchKernel)
    assert "not built" in caplog.text
    assert "not built" in chosen.description
    assert chosen.topk(torch.zeros(1, 8), 2).ids.shape == (1, 2)
    assert chosen.target_logprobs(torch.zeros(1, 8), torch.tensor([49])).shape == (1,)


def test_other_devices_keep_torch() -> None:
    chosen = choose(make_softmax(8, (30,)), "meta")
    assert chosen.name == "torch"
    assert chosen.description.startswith(TorchKernel(make_softmax(8, (30,))).description)
    assert "no kernel for meta" in chosen.description


def test_the_gpu_does_not_round_weights_in_the_exact_mode() -> None:
    pytest.importorskip("triton")
    with pytest.raises(KernelError, match="not float16"):
        choice._kernel(make_softmax(8, (30,)), torch.device("cuda"), "exact")


def test_the_gpu_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "models.kernels.triton_kernel", None)
    with pytest.raises(KernelError, match="need Triton"):
        choice._kernel(make_softmax(8, (30,)), torch.device("cuda"), "fast")
