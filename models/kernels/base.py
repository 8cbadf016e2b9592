"""What a kernel is: the output layer's two operations, however they are made fast; and torch's own.

`TorchKernel` reads the head's weights once a call, in their own type, and each opened cluster's once for the
rows that open it; it writes their logits, and reads them again for their maxima, sums and order. So at one
row it takes the weights' bytes over the bandwidth of memory, plus some 50 calls of torch; at many rows the
flop over the peak and several passes over the logits. It holds `models.softmax.topk.SEARCH_ELEMENTS` logits
at once, in about five temporaries: 320 MiB at most, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import TopK


@runtime_checkable
class Kernel(Protocol):
    """The operations of `AdaptiveSoftmax`, with its shapes, its errors and its answers.

    The ids and their order are those of a brute-force top-k over float32 log-probabilities; words whose
    float32 log-probabilities are equal are ordered by id. A kernel reads the weights when it is made.
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
class TorchKernel:
    """The reference, `AdaptiveSoftmax` itself: on every device, the fallback of all others."""

    softmax: AdaptiveSoftmax
    name: str = "torch"
    description: str = "torch operators, float32"

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """See `AdaptiveSoftmax.topk`."""
        return self.softmax.topk(hidden, k, allowed)

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`."""
        return self.softmax.target_logprobs(hidden, targets)
