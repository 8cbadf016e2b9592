"""Which kernel serves a model: by device, by what is installed and by a short measurement at load.

`choose` times the candidates on rows like the model's own (sums of a few of its words' vectors: peaked,
unlike random rows) at one and at sixteen rows, and returns the fastest with what it measured in its
description. It costs at most about 0.2 s beside the packing (on a GPU beside the compilation).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Final

import torch
from torch import Tensor

from models.adaptive_softmax import AdaptiveSoftmax, TopK
from models.kernels.base import Kernel, TorchKernel
from models.kernels.cpu import CpuKernel, Mode
from models.kernels.library import KernelError

logger = logging.getLogger(__name__)

BATCHES: Final = (1, 16)
K: Final = 10
RUNS: Final = 5
SECONDS: Final = 0.04
"""Time for one candidate at one batch size, after a first run that is not counted."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen `Kernel`, and why.

    Attributes:
        kernel: what it passes every call on to.
        microseconds: of each candidate, by name, the median time of a top-10 at each of `BATCHES` rows.
        reason: why a kernel that might have served does not; empty where there is none.
    """

    kernel: Kernel
    microseconds: dict[str, tuple[float, ...]]
    reason: str = ""

    @property
    def name(self) -> str:
        """The chosen kernel's."""
        return self.kernel.name

    @property
    def description(self) -> str:
        """The chosen kernel's, the measurement, and the reason."""
        measured = "; ".join(
            f"{name} " + ", ".join(f"{time:.0f} us" for time in times)
            for name, times in self.microseconds.items()
        )
        rows = " and ".join(map(str, BATCHES))
        text = self.kernel.description + (f" [top {K} of {rows} rows: {measured}]" if measured else "")
        return f"{text} ({self.reason})" if self.reason else text

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """See `AdaptiveSoftmax.topk`."""
        return self.kernel.topk(hidden, k, allowed)

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`."""
        return self.kernel.target_logprobs(hidden, targets)


@torch.inference_mode()
def choose(softmax: AdaptiveSoftmax, device: torch.device | str = "cpu", mode: Mode = "exact") -> Choice:
    """The fastest kernel for `softmax` on `device`; torch's operators where there is no other.

    Args:
        softmax: its weights are on `device` and stay as they are.
        device: where it runs.
        mode: ``exact``, or ``fast`` where a kernel has that mode (see `models.kernels.cpu`).
    """
    reference = TorchKernel(softmax)
    try:
        kernel = _kernel(softmax, torch.device(device), mode)
    except KernelError as error:
        logger.warning("Top-k and scoring run on torch's operators, several times slower: %s", error)
        return Choice(reference, {}, str(error))
    rows, k = _rows(softmax), min(K, softmax.cutoffs[-1])
    candidates: tuple[Kernel, ...] = (kernel, reference)
    measured = {one.name: tuple(_time(one, rows[:n], k) for n in BATCHES) for one in candidates}
    best = min(candidates, key=lambda one: sum(measured[one.name]))
    return Choice(best, measured)


def _kernel(softmax: AdaptiveSoftmax, device: torch.device, mode: Mode) -> Kernel:
    """The one made for `device`. Raises KernelError where it cannot be used."""
    if device.type == "cpu":
        return CpuKernel(softmax, mode)
    if device.type != "cuda":
        raise KernelError(f"there is no kernel for {device.type}")
    try:
        from models.kernels.triton_kernel import TritonKernel, best_dtype
    except ImportError as error:
        raise KernelError(f"the GPU's kernels need Triton: {error}") from error
    if mode == "exact" and best_dtype(softmax) != torch.float16:
        raise KernelError("the weights are not float16 numbers, so the GPU's kernels would round them")
    return TritonKernel(softmax)


def _rows(softmax: AdaptiveSoftmax) -> Tensor:
    """(max(BATCHES), d) rows whose best words stand out by some nats, the same at each call."""
    n, shortlist = max(BATCHES), softmax.shortlist
    words = torch.arange(n * 4, device=softmax.head.device).reshape(n, 4).mul(7919).remainder(shortlist)
    rows = softmax.head.detach()[words].float().sum(1)
    best = (rows @ softmax.head.detach()[:shortlist].float().T).amax(1, keepdim=True).clamp(min=1e-6)
    return rows * (10 / best)


def _time(kernel: Kernel, rows: Tensor, k: int) -> float:
    """Microseconds of one call, until the host has its answer."""
    kernel.topk(rows, k).ids.cpu()
    times: list[float] = []
    while len(times) < RUNS and sum(times) < SECONDS:
        start = perf_counter()
        kernel.topk(rows, k).ids.cpu()
        times.append(perf_counter() - start)
    return median(times) * 1e6
