"""Top-k and target scoring on the CPU, in C++ (``cpu/*.cpp``).

Reads the softmax's float32 weights once, into panels of 16 words (float16 panels where every weight is a
float16 number, as in bundles: half the bytes and the same products); keeps the float32 rows for rescoring. A
call reads the head's panels, the panels of the clusters that are opened, and the float32 rows of about k
words a hidden row; it writes the answer alone. At one row the time is the head's bytes over the bandwidth of
memory or cache, from six rows on the flop over the peak. See ``cpu/topk.cpp`` for the method and
``cpu/tile.h`` for the layout.

Modes: ``exact`` (float32 throughout) and ``fast`` (the short-list is screened in 8 bits). In both the ids and
their order are exact: a logit that the screen knows to within a certificate, ``|z - z'| <= ||h|| ||w - w'|| +
||h - h'|| ||w'||``, is rescored wherever it may matter. In ``fast`` only the head's partition function is
approximate; `CpuKernel.topk_bounded` and `target_logprobs_bounded` say by how much at most.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import c_int64
from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor

from models.adaptive_softmax import AdaptiveSoftmax, TopK
from models.kernels.library import KernelError, best_level, load, thread_count

Mode = Literal["exact", "fast"]

OUT_OF_MEMORY: Final = -1


class CpuKernel:
    """A `Kernel` on the CPU; safe to call from several threads at once.

    Args:
        softmax: a float32 softmax on the CPU. Its weights are packed now; changes later go unnoticed.
        mode: ``exact`` or ``fast``.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.
        threads: at most so many; by default as many as torch uses at each call.

    Raises:
        KernelError: no extension for this machine, or weights that it does not take.
    """

    name = "cpu"

    def __init__(
        self, softmax: AdaptiveSoftmax, mode: Mode = "exact", level: str = "", threads: int | None = None
    ) -> None:
        if softmax.head.device.type != "cpu":
            raise KernelError(f"the weights are on {softmax.head.device}, not on the CPU")
        if any(weight.dtype != torch.float32 for weight in softmax.parameters()):
            raise KernelError("the weights are not float32")
        self.mode: Final = mode
        self.level: Final = best_level(level)
        self.width: Final = softmax.head.shape[1]
        self.words: Final = softmax.cutoffs[-1]
        self.n_clusters: Final = softmax.n_clusters
        self._threads = threads
        self._library = load()
        self._kept: list[Tensor] = []  # the library reads these rows as long as it lives
        self._halves = 0
        model = self._library.hf_model_new(self.level.encode(), self.width, self.words, len(softmax.tails))
        self._check(0 if model else OUT_OF_MEMORY)
        self._model = ctypes.c_void_p(model)
        # Not by __del__: it must outlive any call under way, and at exit a thread may still be in one.
        weakref.finalize(self, self._library.hf_model_free, self._model).atexit = False
        self._pack(softmax)

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        panels = "float16" if self._halves == 1 else "float32"
        screen = ", short-list screened in int8" if self.mode == "fast" else ""
        return f"C++ {self.level}, {self.mode}: {panels} panels, float32 sums{screen}"

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """See `AdaptiveSoftmax.topk`.

        Raises:
            ValueError: as there, and for a hidden row that is not finite.
        """
        return self.topk_bounded(hidden, k, allowed)[0]

    def topk_bounded(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> tuple[TopK, Tensor]:
        """`topk`, and (B,) float32: by how much each row's log-probabilities may be off, beyond float32
        rounding; 0 in the exact mode."""
        hidden = self._rows(hidden)
        n = len(hidden)
        ks = [k] * n if isinstance(k, int) else list(k)
        if len(ks) != n or (allowed is not None and len(allowed) != n):
            raise ValueError(f"k and allowed must have one entry for each of the {n} rows")
        if any(not 1 <= one <= self.words for one in ks):
            raise ValueError(f"k must be between 1 and the vocabulary's size, {self.words}")
        width = max(ks, default=1)
        ids = torch.empty(n, width, dtype=torch.int64)
        logprobs = torch.empty(n, width)
        expanded = torch.zeros(n, self.n_clusters, dtype=torch.bool)
        bound = torch.empty(n)
        lists, pointers, counts = self._allowed(allowed)
        failed = self._library.hf_topk(
            self._model, hidden.data_ptr(), n, (c_int64 * n)(*ks), pointers, counts, self.mode == "fast",
            self._threads or thread_count(), width,
            ids.data_ptr(), logprobs.data_ptr(), expanded.data_ptr(), bound.data_ptr(),
        )  # fmt: skip
        del lists  # alive until here
        self._check(failed)
        return TopK(ids, logprobs, expanded), bound

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See `AdaptiveSoftmax.target_logprobs`.

        Raises:
            IndexError: as there.
            ValueError: a hidden row that is not finite.
        """
        return self.target_logprobs_bounded(hidden, targets)[0]

    def target_logprobs_bounded(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`target_logprobs`, and (N,) float32: by how much each may be off, as `topk_bounded` has it."""
        hidden = self._rows(hidden)
        targets = targets.to(torch.int64).contiguous()
        if targets.shape != hidden.shape[:1]:
            raise ValueError(f"{len(hidden)} hidden rows need as many targets, got {tuple(targets.shape)}")
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.words:
            raise IndexError(f"targets must be in 0..{self.words - 1}")
        out, bound = torch.empty(2, len(targets))
        self._check(
            self._library.hf_target_logprobs(
                self._model, hidden.data_ptr(), targets.data_ptr(), len(targets), self.mode == "fast",
                self._threads or thread_count(), out.data_ptr(), bound.data_ptr(),
            )
        )  # fmt: skip
        return out, bound

    # -- pieces ---------------------------------------------------------------------------------------

    def _pack(self, softmax: AdaptiveSoftmax) -> None:
        call, model = self._library, self._model
        halves = []

        def keep(weight: Tensor) -> tuple[int, bool]:
            weight = weight.detach().contiguous()
            half = bool(torch.equal(weight.half().float(), weight))
            halves.append(half)
            self._kept.append(weight)
            return weight.data_ptr(), half

        def bias(values: Tensor | None) -> int | None:
            return None if values is None else keep(values)[0]

        head, half = keep(softmax.head)
        n = softmax.shortlist
        self._check(call.hf_model_head(model, head, bias(softmax.head_bias), n, self.n_clusters, half))
        for band, projection in enumerate(softmax.projections):
            rows, half = keep(projection)
            self._check(call.hf_model_projection(model, band, rows, len(projection), half))
        tails = [keep(tail) for tail in softmax.tails]
        biases = [bias(b) for b in softmax.tail_biases or [None] * len(tails)]
        done = dict.fromkeys(range(len(tails)), 0)
        for cluster, (low, high) in enumerate(pairwise(softmax.cutoffs)):
            band = softmax.band_of[cluster]
            (rows, half), width, at = tails[band], softmax.tails[band].shape[1], done[band]
            bias_at = biases[band]
            self._check(
                call.hf_model_cluster(
                    model, band, rows + 4 * at * width, None if bias_at is None else bias_at + 4 * at,
                    low, high - low, half,
                )
            )  # fmt: skip
            done[band] += high - low
        excluded = softmax.excluded.nonzero()[:, 0].contiguous()
        self._check(call.hf_model_finish(model, excluded.data_ptr(), len(excluded), self.mode == "fast"))
        self._halves = all(halves)

    def _rows(self, hidden: Tensor) -> Tensor:
        if hidden.dim() != 2 or hidden.shape[1] != self.width:
            raise ValueError(f"hidden must be (rows, {self.width}), got {tuple(hidden.shape)}")
        if hidden.device.type != "cpu":
            raise ValueError(f"hidden is on {hidden.device}, not on the CPU")
        return hidden.detach().float().contiguous()

    @staticmethod
    def _allowed(
        allowed: Sequence[Tensor | None] | None,
    ) -> tuple[list[Tensor | None], ctypes.Array[ctypes.c_void_p] | None, ctypes.Array[c_int64] | None]:
        if allowed is None or all(one is None for one in allowed):
            return [], None, None
        lists = [None if one is None else one.to("cpu", torch.int64).contiguous() for one in allowed]
        # An empty list must not look like none: it points somewhere.
        anywhere = torch.zeros(1, dtype=torch.int64)
        lists.append(anywhere)
        pointers = [None if one is None else (one if len(one) else anywhere).data_ptr() for one in lists[:-1]]
        counts = [0 if one is None else len(one) for one in lists[:-1]]
        n = len(counts)
        return lists, (ctypes.c_void_p * n)(*pointers), (c_int64 * n)(*counts)

    @staticmethod
    def _check(code: int) -> None:
        if code == OUT_OF_MEMORY:
            raise MemoryError("the CPU kernel ran out of memory")
        if code > 0:
            raise ValueError(f"hidden row {code - 1} is not finite, or its logits are not")
