"""Top-k and target scoring on the CPU, in C++ (``src/*.cpp``).

The weights are packed once (see `models.kernels.cpu.weights`). A call reads the head's panels, the panels of
the clusters that are opened, and the float32 rows of about k words a hidden row; it writes the answer alone.
At one row the time is the head's bytes over the bandwidth of memory or cache, from six rows on the flop over
the peak. See ``src/topk.cpp`` for the method and ``src/tile.h`` for the layout.

Memory: no buffer has an element for each row and word, even with all clusters opened. Beyond weights and
answer (some 16 bytes a word) a call of `topk` takes at most 4 bytes x 64 rows x the words of the short-list,
and 4 MiB; one of `target_logprobs` 16 MiB. The calling thread keeps it for its next call. A test measures all
that.

In both modes the tail is screened in 8 bits: of all clusters whose own probability reaches the k-th best
word's, the screen proves of most that they hold none of the k best. What it knows a logit to is a
certificate, ``|z - z'| <= ||h|| ||w - w'|| + ||h - h'|| ||w'||``; the rest is computed in float32 and decided
in double.

Modes: ``exact`` and ``fast``, which screens the short-list, too, and rescores every word that may matter.
Both have the same scores, ids and order. In ``fast`` only the head's partition function is approximate;
`CpuKernel.topk_bounded` and `target_logprobs_bounded` say by how much at most (``src/bound.h``).

`TopK.expanded` are the clusters whose own probability reaches the k-th best word's: whatever has been looked
into, no other can hold one of the k best.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Sequence
from ctypes import c_int64
from typing import Literal, Self

import torch
from torch import Tensor

from models.kernels.cpu.library import load, thread_count
from models.kernels.cpu.weights import PackedSoftmax, check
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import TopK, k_of_rows

Mode = Literal["exact", "fast"]


class CpuKernel:
    """A `Kernel` on the CPU; safe to call from several threads at once.

    Args:
        softmax: a float32 softmax on the CPU. Its weights are packed now; changes later go unnoticed.
        mode: ``exact`` or ``fast``.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.
        threads: at most so many; by default as many as torch uses at each call.

    Attributes:
        alone: threads of a top-k of one row, where that is fewer: beside another busy process such a call
            waits for a thread that does not run, so that several have to gain much.

    Raises:
        KernelError: no extension for this machine, or weights that it does not take.
    """

    name = "cpu"

    def __init__(
        self, softmax: AdaptiveSoftmax, mode: Mode = "exact", level: str = "", threads: int | None = None
    ) -> None:
        self.weights = PackedSoftmax(softmax, level)
        self.mode: Mode = mode
        self.alone: int | None = None
        self._threads = threads
        self._library = load()

    def in_mode(self, mode: Mode) -> Self:
        """This kernel in another mode; both read the same packed weights."""
        other = copy.copy(self)
        other.mode = mode
        return other

    @property
    def level(self) -> str:
        """The instruction set."""
        return self.weights.level

    @property
    def description(self) -> str:
        """One line for `headfirst inspect`."""
        panels = "float16" if self.weights.halves else "float32"
        screen = ", short-list screened in int8" if self.mode == "fast" else ""
        alone = ", one thread for one row" if self.alone == 1 else ""
        return f"C++ {self.level}, {self.mode}: {panels} panels, float32 sums{screen}{alone}"

    def threads(self, rows: int) -> int:
        """Of a top-k of so many rows."""
        every = self._threads or thread_count()
        return min(every, self.alone) if rows == 1 and self.alone else every

    def with_threads(self, threads: int) -> Self:
        """This kernel with at most so many threads; both read the same packed weights."""
        other = copy.copy(self)
        other._threads = threads
        return other

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
        ks = k_of_rows(k, allowed, n, self.weights.words)
        width = max(ks, default=1)
        ids = torch.empty(n, width, dtype=torch.int64)
        logprobs = torch.empty(n, width)
        expanded = torch.zeros(n, self.weights.n_clusters, dtype=torch.bool)
        bound = torch.empty(n)
        lists, pointers, counts = self._allowed(allowed)
        failed = self._library.hf_topk(
            self.weights.handle, hidden.data_ptr(), n, (c_int64 * n)(*ks), pointers, counts,
            self.mode == "fast", self.threads(n), width,
            ids.data_ptr(), logprobs.data_ptr(), expanded.data_ptr(), bound.data_ptr(),
        )  # fmt: skip
        del lists  # alive until here
        check(failed)
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
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.weights.words:
            raise IndexError(f"targets must be in 0..{self.weights.words - 1}")
        out, bound = torch.empty(2, len(targets))
        check(
            self._library.hf_target_logprobs(
                self.weights.handle, hidden.data_ptr(), targets.data_ptr(), len(targets), self.mode == "fast",
                self._threads or thread_count(), out.data_ptr(), bound.data_ptr(),
            )
        )  # fmt: skip
        return out, bound

    # -- pieces ---------------------------------------------------------------------------------------

    def _rows(self, hidden: Tensor) -> Tensor:
        if hidden.dim() != 2 or hidden.shape[1] != self.weights.width:
            raise ValueError(f"hidden must be (rows, {self.weights.width}), got {tuple(hidden.shape)}")
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
