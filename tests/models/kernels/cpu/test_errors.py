"""What the CPU kernels refuse, and how."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import pytest
import torch

from models.kernels.cpu import library
from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.library import KernelError
from tests.support.softmaxes import LEVELS, make_softmax, needs_extension


@needs_extension
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_rows_that_are_not_finite(level: str, mode: str, value: float) -> None:
    softmax = make_softmax(20, (50, 30), ((1, 8),))
    kernel = CpuKernel(softmax, "fast" if mode == "fast" else "exact", level)
    hidden = torch.ones(70, 20)
    hidden[66, 3] = value
    with pytest.raises(ValueError, match="hidden row 66 is not finite"):
        kernel.topk(hidden, 3)
    with pytest.raises(ValueError, match="hidden row 66 is not finite"):
        kernel.target_logprobs(hidden, torch.zeros(70, dtype=torch.int64))
    assert kernel.topk(hidden[:66], 3).logprobs.isfinite().all()


@needs_extension
def test_arguments() -> None:
    kernel = CpuKernel(make_softmax(20, (50, 30), ((1, 8),)))
    hidden = torch.zeros(2, 20)
    for k in (0, 81, [1], [1, 81]):
        with pytest.raises(ValueError, match="k "):
            kernel.topk(hidden, k)
    with pytest.raises(ValueError, match="allowed"):
        kernel.topk(hidden, 1, [None])
    with pytest.raises(ValueError, match="hidden must be"):
        kernel.topk(torch.zeros(2, 19), 1)
    with pytest.raises(ValueError, match="as many targets"):
        kernel.target_logprobs(hidden, torch.zeros(1, dtype=torch.int64))
    for target in (-1, 80):
        with pytest.raises(IndexError, match=r"0\.\.79"):
            kernel.target_logprobs(hidden, torch.tensor([0, target]))


@needs_extension
def test_no_rows_no_words_and_strange_lists() -> None:
    kernel = CpuKernel(make_softmax(20, (50, 30), ((1, 8),), excluded=(4, 60)))
    none = kernel.topk(torch.zeros(0, 20), 5)
    assert none.ids.shape == (0, 1)  # as the reference
    assert none.expanded.shape == (0, 1)
    hidden = torch.ones(4, 20)
    lists = [torch.tensor([4, 60]), torch.zeros(0, dtype=torch.int64), torch.tensor([-7, 3, 999]), None]
    found = kernel.topk(hidden, [2, 2, 2, 80], lists)
    assert found.ids[0, 0] == found.ids[1, 0] == -1
    assert found.ids[2, :2].tolist() == [3, -1]
    assert (found.ids[3] >= 0).sum() == 78
    assert found.expanded[:, 0].tolist() == [False, False, False, True]


@needs_extension
def test_takes_rows_of_any_type_and_stride() -> None:
    kernel = CpuKernel(make_softmax(20, (50, 30), ((1, 8),)))
    hidden = torch.randn(6, 40)[:, ::2]
    want = kernel.topk(hidden.contiguous(), 5)
    assert torch.equal(kernel.topk(hidden, 5).ids, want.ids)
    assert kernel.topk(hidden.bfloat16(), 5).logprobs.dtype == torch.float32
    assert kernel.topk(hidden.clone().requires_grad_(), 5).ids.equal(want.ids)


@needs_extension
def test_lives_longer_than_the_softmax() -> None:
    softmax = make_softmax(20, (50, 30), ((1, 8),))
    hidden = torch.randn(6, 20)
    want = softmax.topk(hidden, 5)
    kernel = CpuKernel(softmax)
    del softmax
    gc.collect()
    assert torch.equal(kernel.topk(hidden, 5).ids, want.ids)


@needs_extension
def test_weights_it_does_not_take() -> None:
    with pytest.raises(KernelError, match="float32"):
        CpuKernel(make_softmax(20, (50,)).half())
    with pytest.raises(KernelError, match="meta"):
        CpuKernel(make_softmax(20, (50,)).to("meta"))
    with pytest.raises(KernelError, match="no neon"):
        CpuKernel(make_softmax(20, (50,)), level="neon")


def test_extension_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="not built"):
        library.load(tmp_path)
    (tmp_path / "_cpu.so").write_text("not a library")
    with pytest.raises(KernelError, match="does not load"):
        library.load.__wrapped__(tmp_path)


@needs_extension
def test_extension_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VERSION", -1)
    with pytest.raises(KernelError, match="install Headfirst again"):
        library.load.__wrapped__()


def test_another_interface_has_another_version() -> None:
    # An extension that was built before would be called with arguments that it does not know.
    declared = [
        (name, None if result is None else result.__name__, *(argument.__name__ for argument in arguments))
        for name, (result, arguments) in sorted(library._SIGNATURES.items())
    ]
    digest = hashlib.sha256(repr(declared).encode()).hexdigest()[:16]
    assert (library.VERSION, digest) == (8, "cc1cbb7aca728c04"), (
        "raise VERSION in library.py and hf_version in api.cpp"
    )
