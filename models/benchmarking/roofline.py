"""What one call of our top-k or scorer must read and multiply at least, and how fast that could be.

Bytes are those of the weights that the call needs, each once, in the width that the kernel streams: the head
(in the fast mode its short-list in 8 bits), the projections of the bands and the words of the clusters that
compete for some row (of a search in 8 bits, which proves of most that they hold nothing). Multiply-adds are
those of every row with the head and with what it opens. Hidden rows, answers and scratch are left out: they
are small, and in the caches.

The roofline is the larger of bytes over bandwidth and multiply-adds over the peak of float32 (of int8 for the
short-list in the fast mode). Bandwidth is that of the cache where the weights fit half of it, and then the
time is that of calls in a row; else it is that of memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

from models.benchmarking.machine import Ceilings
from models.kernels.cpu.kernel import CpuKernel
from models.softmax.adaptive_softmax import AdaptiveSoftmax

Bound = Literal["memory", "cache", "compute"]

SCREENED_WORDS: Final = 64
"""Of the smallest cluster that has a screen, as in ``models/kernels/cpu/src/api.cpp``."""


@dataclass(frozen=True, slots=True)
class Work:
    """Of one call: bytes, and operations in float32 and in int8 (two a multiply-add)."""

    nbytes: float
    float32: float
    int8: float

    def seconds(self, ceilings: Ceilings) -> tuple[float, Bound]:
        """The roofline in seconds, and its bound: a memory or a unit of arithmetic."""
        cached = 0 < self.nbytes <= ceilings.cache_bytes / 2
        reading = self.nbytes / (ceilings.cache if cached else ceilings.memory)
        computing = self.float32 / ceilings.float32 + self.int8 / ceilings.int8
        if computing > reading:
            return computing, "compute"
        return reading, "cache" if cached else "memory"


def work(kernel: CpuKernel, softmax: AdaptiveSoftmax, opened: Tensor, search: bool = True) -> Work:
    """Of a call for rows that open the clusters of `opened` (B, clusters) bool.

    Args:
        kernel: `softmax`'s; its mode counts.
        search: a top-k; else scoring, which needs every opened cluster in full.
    """
    rows, width = len(opened), softmax.hidden_size
    item, fast = 2 if kernel.weights.halves else 4, kernel.mode == "fast"
    screens = search and kernel.level != "scalar"
    words = softmax.shortlist * width
    columns = softmax.n_clusters * width
    nbytes = float(words * (1 if fast else item) + columns * item)
    int8, float32 = (2.0 * rows * words, 0.0) if fast else (0.0, 2.0 * rows * words)
    float32 += 2.0 * rows * columns
    counts = opened.sum(0).tolist()
    for band, tail in enumerate(softmax.tails):
        clusters = [c for c, one in enumerate(softmax.band_of) if one == band and counts[c]]
        if not clusters:
            continue
        projecting = int(opened[:, clusters].any(1).sum())
        nbytes += item * tail.shape[1] * width
        float32 += 2.0 * projecting * tail.shape[1] * width
        for cluster in clusters:
            size = softmax.cluster_sizes[cluster] * tail.shape[1]
            if screens and softmax.cluster_sizes[cluster] >= SCREENED_WORDS:
                nbytes += size
                int8 += 2.0 * counts[cluster] * size
            else:
                nbytes += item * size
                float32 += 2.0 * counts[cluster] * size
    return Work(nbytes, float32, int8)
