"""The contract of a kernel: the output layer's two operations, made fast in some way.

The reference, and the fallback of all others, is `AdaptiveSoftmax` itself, which is a `Kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.softmax.topk import TopK


@runtime_checkable
class Kernel(Protocol):
    """The operations of `AdaptiveSoftmax`, with its shapes, its errors and its answers.

    The ids and their order are those of a brute-force top-k by score, equal scores by the smaller id. A score
    is rounded differently by different kernels (the CPU's decide by one double score in both modes; the
    reference and the GPU's by float32), so words whose true scores differ by some 1e-6 may change places
    between kernels. A kernel reads the weights when it is made.
    """

    @property
    def name(self) -> str:
        """A word for logs: ``torch``, ``cpu``, ``triton``."""

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`: technique, instruction set, mode."""

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """See `AdaptiveSoftmax.topk`."""

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`."""


@runtime_checkable
class BoundedKernel(Protocol):
    """The fast mode of a kernel: the same words in the same order, by certificate, sooner; their
    log-probabilities within a bound that it returns."""

    @property
    def description(self) -> str:
        """As a `Kernel` has it."""

    def topk_bounded(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> tuple[TopK, Tensor]:
        """The answer of `Kernel.topk`, and (B,) float32: the most, in nats, by which each row's
        log-probabilities may be off beyond float32 rounding; 0 where they are exact."""

    def target_logprobs_bounded(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The answer of `Kernel.target_logprobs`, and (N,) float32: the same bound for each of them."""


@dataclass(frozen=True, slots=True)
class ExactBounds:
    """The `BoundedKernel` of a kernel that has no fast mode: its exact answers, and 0 for every bound."""

    kernel: Kernel
    description: str = "answered exactly: this kernel has no fast mode"

    def topk_bounded(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> tuple[TopK, Tensor]:
        """See `BoundedKernel.topk_bounded`."""
        return self.kernel.topk(hidden, k, allowed), torch.zeros(len(hidden), device=hidden.device)

    def target_logprobs_bounded(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `BoundedKernel.target_logprobs_bounded`."""
        return self.kernel.target_logprobs(hidden, targets), torch.zeros(len(hidden), device=hidden.device)
