"""Which kernels serve a model: by device, by what is installed and by a short measurement at load.

`choose` times the candidates on rows like the model's own (sums of a few of its words' vectors: peaked,
unlike random rows) at one and at sixteen rows, and returns the fastest exact one with what it measured in its
description. It costs at most about 0.3 s beside the packing (on a GPU beside the compilation), and reads the
rows and weights that the candidates do.

The fast mode is a permission: where the device's kernel has none, such a call is answered exactly, with 0 for
its bound. That depends on device and installation alone, not on the measurement, so that it is the same at
every start.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

import torch
from torch import Tensor

from models.kernels.base import BoundedKernel, ExactBounds, Kernel
from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.library import KernelError
from models.softmax.adaptive_softmax import AdaptiveSoftmax

logger = logging.getLogger(__name__)

BATCHES: Final = (1, 16)
K: Final = 10
RUNS: Final = 5
LEAST_RUNS: Final = 3
"""However long they take: one that a busy machine interrupts does not change the median of three."""
SECONDS: Final = 0.04
"""Time for one candidate at one batch size, after a first run that is not counted."""


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
    candidates: dict[str, Kernel] = {kernel.name: kernel, softmax.name: softmax}
    fast: BoundedKernel | None = None
    if isinstance(kernel, CpuKernel):
        candidates[f"{kernel.name} fast"] = fast = kernel.in_mode("fast")
    rows, k = _rows(softmax), min(K, softmax.cutoffs[-1])
    measured = {
        name: tuple(_time(candidate, rows[:n], k) for n in BATCHES) for name, candidate in candidates.items()
    }
    best = min((kernel, softmax), key=lambda one: sum(measured[one.name]))
    return Choice(best, fast or ExactBounds(best), measured)


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
    """(max(BATCHES), d) rows whose best words stand out by some nats, the same at each call."""
    n, shortlist = max(BATCHES), softmax.shortlist
    head = softmax.head_weight().detach()[:shortlist]
    words = torch.arange(n * 4, device=softmax.head.device).reshape(n, 4).mul(7919).remainder(shortlist)
    rows = head[words].float().sum(1)
    best = (rows @ head.float().T).amax(1, keepdim=True).clamp(min=1e-6)
    return rows * (10 / best)


def _time(kernel: Kernel, rows: Tensor, k: int) -> float:
    """Microseconds of one call, until the host has its answer."""
    kernel.topk(rows, k).ids.cpu()
    times: list[float] = []
    while len(times) < LEAST_RUNS or (len(times) < RUNS and sum(times) < SECONDS):
        start = perf_counter()
        kernel.topk(rows, k).ids.cpu()
        times.append(perf_counter() - start)
    return median(times) * 1e6
