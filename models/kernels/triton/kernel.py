"""The GPU's `Kernel`: `TritonTopK` and `TritonScorer` behind the interface of `AdaptiveSoftmax`.

It differs from the reference where the reference would wait for the device: a target outside the vocabulary
 scores NaN instead of raising IndexError, and clusters are opened in one step by the head
alone, so that `expanded` names some that the reference, which opens them one after another, need not open. A
k above 1024 goes to the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor

from models.kernels.triton.buffers import K_CAPS, Tuning
from models.kernels.triton.masks import send
from models.kernels.triton.scorer import ScoreTuning, TritonScorer
from models.kernels.triton.topk import TritonTopK
from models.kernels.triton.weights import PackedWeights
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import NO_WORD, TopK, k_of_rows


class TritonKernel:
    """A `Kernel` on an NVIDIA GPU (on the CPU under ``TRITON_INTERPRET=1``, for tests).

    For one thread and one stream at a time. Changes to `softmax`'s weights go unnoticed.

    Args:
        softmax: its weights are packed now.
        dtype: what they are packed as; by default float16 where that loses nothing, as in bundles saved so,
            else bfloat16. Hidden rows of this type multiply as they are, float32 rows as two terms of it.
        max_rows: rows of one search; larger batches are cut.
        graphs: whether to capture CUDA graphs; by default on a GPU.
        tuning, score_tuning: block sizes.

    Raises:
        ValueError: weights that are not finite in `dtype`.
    """

    name: Final = "triton"

    def __init__(
        self,
        softmax: AdaptiveSoftmax,
        dtype: torch.dtype | None = None,
        max_rows: int = 1024,
        graphs: bool | None = None,
        tuning: Tuning | None = None,
        score_tuning: ScoreTuning | None = None,
    ) -> None:
        self._softmax = softmax
        self.weights: Final = PackedWeights(softmax, dtype or best_dtype(softmax))
        self.search: Final = TritonTopK(self.weights, max_rows, graphs, tuning)
        self.scorer: Final = TritonScorer(self.weights, score_tuning)

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        dtype = str(self.weights.dtype).removeprefix("torch.")
        graphs = "CUDA graphs" if self.search.graphs else "no graphs"
        megabytes = self.weights.nbytes / 1e6
        return f"Triton, {dtype} weights ({megabytes:.0f} MB), float32 sums, {graphs}"

    @torch.inference_mode()
    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """See `AdaptiveSoftmax.topk`.

        Raises:
            ValueError: as there, and for rows of another width or on another device.
        """
        self._check(hidden)
        ks = k_of_rows(k, allowed, len(hidden), self.weights.vocabulary_size)
        width = max(ks, default=1)
        if width > max(K_CAPS):
            return self._softmax.topk(hidden, ks, allowed)
        if allowed is not None and all(ids is None for ids in allowed):
            allowed = None
        with on_device(hidden.device):
            found = self.search.topk(hidden, width, allowed)
        if min(ks, default=width) == width:
            return found
        none = send(torch.arange(width) >= torch.tensor(ks)[:, None], hidden.device)
        return found._replace(
            ids=found.ids.masked_fill(none, NO_WORD), logprobs=found.logprobs.masked_fill(none, -torch.inf)
        )

    @torch.inference_mode()
    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`, but for targets outside the vocabulary: NaN.

        Raises:
            ValueError: rows of another width, on another device or of another number than the targets.
        """
        self._check(hidden)
        if targets.shape != hidden.shape[:1] or targets.device != hidden.device:
            raise ValueError(f"{len(hidden)} hidden rows need as many targets beside them")
        with on_device(hidden.device):
            return self.scorer.target_logprobs(hidden, targets.to(torch.int64))

    def prepare(
        self, ks: Sequence[int] = (10,), rows: int = 1024, dtype: torch.dtype = torch.float32
    ) -> None:
        """Compile and capture now what batches of up to `rows` rows need, so that no request waits for it.

        To be called when a server warms up: compilation takes some ten seconds, unless Triton's cache on disk
        has it (``TRITON_CACHE_DIR``, which must be writable).
        """
        device, width = self.weights.device, self.weights.hidden_size
        for n in (1 << exponent for exponent in range(max(1, rows).bit_length())):
            hidden = torch.zeros(n, width, dtype=dtype, device=device)
            for k in ks:
                self.topk(hidden, min(k, self.weights.vocabulary_size))
            self.target_logprobs(hidden, torch.zeros(n, dtype=torch.int64, device=device))

    def _check(self, hidden: Tensor) -> None:
        width = self.weights.hidden_size
        if hidden.dim() != 2 or hidden.shape[1] != width:
            raise ValueError(f"hidden must be (rows, {width}), got {tuple(hidden.shape)}")
        if hidden.device != self.weights.device:
            raise ValueError(f"hidden is on {hidden.device}, the weights are on {self.weights.device}")


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Makes `device` the current one: Triton launches there, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def best_dtype(softmax: AdaptiveSoftmax) -> torch.dtype:
    """float16 where every weight is a float16 number, else bfloat16."""
    weights = [softmax.head_weight(), *softmax.projections, *softmax.tails]
    exact = all(bool(torch.equal(weight.half().to(weight.dtype), weight)) for weight in weights)
    return torch.float16 if exact else torch.bfloat16
