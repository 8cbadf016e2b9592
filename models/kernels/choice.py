"""Which kernels serve a model: by device, by what is installed and by a short measurement at load.

`choose` times the candidates on rows like the model's own (sums of a few of its words' vectors: peaked,
unlike random rows) at one and at sixteen rows, and returns the fastest exact one with what it measured in its
description. It costs at most about a second beside the packing (on a GPU beside the compilation), and reads
the rows and weights that the candidates do.

The fast mode is a permission: where the device's kernel has none, or where the measurement at some numbers of
rows and words shows that it is no faster, such a call is answered exactly, with 0 for its bound.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import Final

import torch
from torch import Tensor

from models.kernels.base import BoundedKernel, ExactBounds, Kernel
from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.library import KernelError
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import TopK

logger = logging.getLogger(__name__)

BATCHES: Final = (1, 16)
K: Final = 10
FAST_BATCHES: Final = (1, 3, 16, 64)
FAST_KS: Final = (10, 100)
"""Rows and words at which the fast mode is measured; a size in between is taken for the next smaller one."""
FAST_GAIN: Final = 0.97
"""The fast mode pays up to this share of the exact one's time: a tie is answered exactly."""
THREADS_GAIN: Final = 1.5
"""How much faster all threads have to be for one row: beside a busy process the slowest of a hundred such
calls takes four times as long with two threads as with one."""
RUNS: Final = 5
LEAST_RUNS: Final = 3
"""However long they take: one that a busy machine interrupts does not change the median of three."""
SECONDS: Final = 0.04
"""Time for one candidate at one batch size, after a first run that is not counted."""


@dataclass(frozen=True, slots=True)
class MeasuredBounds:
    """The fast mode of a kernel where it pays, and its exact answers with 0 for their bounds elsewhere.

    Attributes:
        topk_pays: for each of `FAST_BATCHES` whether it pays at each of `FAST_KS`.
        scoring_pays: for each of `FAST_BATCHES`.
    """

    exact: Kernel
    fast: BoundedKernel
    topk_pays: Sequence[Sequence[bool]]
    scoring_pays: Sequence[bool]

    @property
    def description(self) -> str:
        """The fast kernel's, and where it is used."""
        topk = [
            f"{batch} rows, k {k}"
            for batch, row in zip(FAST_BATCHES, self.topk_pays, strict=True)
            for k, pays in zip(FAST_KS, row, strict=True)
            if pays
        ]
        scoring = [str(batch) for batch, pays in zip(FAST_BATCHES, self.scoring_pays, strict=True) if pays]
        return (
            f"{self.fast.description} [where it is faster, from {'; '.join(topk) or 'none'}; "
            f"scoring from {', '.join(scoring) or 'no'} rows]"
        )

    def topk_bounded(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> tuple[TopK, Tensor]:
        """See `BoundedKernel.topk_bounded`."""
        most = k if isinstance(k, int) else max(k, default=1)
        if self.topk_pays[_size(FAST_BATCHES, len(hidden))][_size(FAST_KS, most)]:
            return self.fast.topk_bounded(hidden, k, allowed)
        return ExactBounds(self.exact).topk_bounded(hidden, k, allowed)

    def target_logprobs_bounded(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `BoundedKernel.target_logprobs_bounded`."""
        if self.scoring_pays[_size(FAST_BATCHES, len(hidden))]:
            return self.fast.target_logprobs_bounded(hidden, targets)
        return ExactBounds(self.exact).target_logprobs_bounded(hidden, targets)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen kernels, and why.

    Attributes:
        exact: what answers exact calls.
        fast: what answers bounded calls.
        microseconds: of each candidate, by name, the median time of a top-10 at each of `BATCHES` rows.
        reason: why a kernel that might have served does not; empty where there is none.
    """

    exact: Kernel
    fast: BoundedKernel
    microseconds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    reason: str = ""

    @property
    def description(self) -> str:
        """The exact kernel's, the measurement, and the reason."""
        measured = "; ".join(
            f"{name} " + ", ".join(f"{time:.0f} us" for time in times)
            for name, times in self.microseconds.items()
        )
        rows = " and ".join(map(str, BATCHES))
        text = self.exact.description + (f" [top {K} of {rows} rows: {measured}]" if measured else "")
        return f"{text} ({self.reason})" if self.reason else text


@torch.inference_mode()
def choose(softmax: AdaptiveSoftmax, device: torch.device | str = "cpu") -> Choice:
    """The fastest kernel for `softmax` on `device`; torch's operators where there is no other.

    Args:
        softmax: its weights are on `device` and stay as they are.
        device: where it runs.
    """
    try:
        kernel = _kernel(softmax, torch.device(device))
    except KernelError as error:
        logger.warning("Top-k and scoring run on torch's operators, several times slower: %s", error)
        return Choice(softmax, ExactBounds(softmax), reason=str(error))
    rows, k = _rows(softmax), min(K, softmax.cutoffs[-1])
    candidates: dict[str, Kernel] = {kernel.name: kernel, softmax.name: softmax}
    if isinstance(kernel, CpuKernel):
        one = kernel.with_threads(1)
        if kernel.threads(1) > 1 and _time(one, rows[:1], k) < THREADS_GAIN * _time(kernel, rows[:1], k):
            kernel.alone = 1
        candidates[f"{kernel.name} fast"] = kernel.in_mode("fast")
    measured = {
        name: tuple(_time(candidate, rows[:n], k) for n in BATCHES) for name, candidate in candidates.items()
    }
    best = min((kernel, softmax), key=lambda one: sum(measured[one.name]))
    if not isinstance(kernel, CpuKernel):
        return Choice(best, ExactBounds(best), measured)
    return Choice(best, _measured_bounds(best, kernel.in_mode("fast"), softmax, rows), measured)


def _measured_bounds(
    exact: Kernel, fast: CpuKernel, softmax: AdaptiveSoftmax, rows: Tensor
) -> MeasuredBounds:
    """The fast mode at the sizes at which it is faster than `exact`."""
    words = softmax.cutoffs[-1]
    targets = torch.arange(len(rows), device=rows.device) * 7919 % words

    def pays(exactly: Callable[[], object], boundedly: Callable[[], object]) -> bool:
        return _call_time(boundedly) <= FAST_GAIN * _call_time(exactly)

    topk = [
        [
            pays(partial(exact.topk, rows[:n], min(k, words)), partial(fast.topk, rows[:n], min(k, words)))
            for k in FAST_KS
        ]
        for n in FAST_BATCHES
    ]
    scoring = [
        pays(
            partial(exact.target_logprobs, rows[:n], targets[:n]),
            partial(fast.target_logprobs, rows[:n], targets[:n]),
        )
        for n in FAST_BATCHES
    ]
    return MeasuredBounds(exact, fast, topk, scoring)


def _size(sizes: Sequence[int], size: int) -> int:
    """Which of the ascending `sizes` stands for `size`: the largest that is not above it, else the first."""
    return max(0, bisect_right(sizes, size) - 1)


def _kernel(softmax: AdaptiveSoftmax, device: torch.device) -> Kernel:
    """The one made for `device`. Raises KernelError where it cannot be used."""
    if softmax.shortlist == 0:
        raise KernelError("no kernel takes a two-level tree, which has no short-list")
    if device.type == "cpu":
        return CpuKernel(softmax)
    if device.type != "cuda":
        raise KernelError(f"there is no kernel for {device.type}")
    try:
        from models.kernels.triton.kernel import TritonKernel, best_dtype
    except ImportError as error:
        raise KernelError(f"the GPU's kernels need Triton: {error}") from error
    if best_dtype(softmax) != torch.float16:
        raise KernelError("the weights are not float16 numbers, so the GPU's kernels would round them")
    return TritonKernel(softmax)


def _rows(softmax: AdaptiveSoftmax) -> Tensor:
    """(max(FAST_BATCHES), d) rows whose best words stand out by some nats, the same at each call."""
    n, shortlist = max(FAST_BATCHES), softmax.shortlist
    head = softmax.head_weight().detach()[:shortlist]
    words = torch.arange(n * 4, device=softmax.head.device).reshape(n, 4).mul(7919).remainder(shortlist)
    rows = head[words].float().sum(1)
    best = (rows @ head.float().T).amax(1, keepdim=True).clamp(min=1e-6)
    return rows * (10 / best)


def _time(kernel: Kernel, rows: Tensor, k: int) -> float:
    """Microseconds of one call, until the host has its answer."""
    return _call_time(lambda: kernel.topk(rows, k).ids.cpu())


def _call_time(call: Callable[[], object]) -> float:
    """Microseconds: the median of some calls, after a first one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < LEAST_RUNS or (len(times) < RUNS and sum(times) < SECONDS):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times) * 1e6
