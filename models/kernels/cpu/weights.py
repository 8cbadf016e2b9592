"""An adaptive softmax as the C++ kernels read it (``src/model.h``): packed once, for every mode and thread.

Reads the softmax's float32 weights. Keeps, in bytes a weight:

- panels of 16 words: 4, or 2 where every weight of the matrix is a float16 number, as in bundles;
- for rescoring: the softmax's own float32 rows, not copied, and where the panels are float16 those rows as
  float16, 2;
- the screens, 1: the short-list in 8 bits, for the fast mode, and the clusters where 8 bits are multiplied
  faster than float32, for both modes.

Both modes read the same panels, so the fast mode costs a byte a weight of the short-list more: that is packed
always, because any request may ask for the mode and should not wait for it. Packing takes some 1 GB/s, once.
"""

from __future__ import annotations

import ctypes
import weakref
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from models.kernels.cpu.library import KernelError, best_level, load
from models.softmax.adaptive_softmax import AdaptiveSoftmax

OUT_OF_MEMORY: Final = -1
GRAM_ROWS: Final = 4096
"""Rows of which what 8 bits lose is held at once."""


class PackedSoftmax:
    """The packed weights; `handle` is what the library's functions take, as long as this object lives.

    Args:
        softmax: a float32 softmax on the CPU. Changes of its weights later go unnoticed.
        level: ``avx512``, ``avx2`` or ``scalar``; by default the best of this processor.

    Attributes:
        halves: whether all panels are float16.

    Raises:
        KernelError: no extension for this machine, or weights that it does not take.
        MemoryError: too little memory.
    """

    def __init__(self, softmax: AdaptiveSoftmax, level: str = "") -> None:
        if softmax.head.device.type != "cpu":
            raise KernelError(f"the weights are on {softmax.head.device}, not on the CPU")
        if any(weight.dtype != torch.float32 for weight in softmax.parameters()):
            raise KernelError("the weights are not float32")
        self.level: Final = best_level(level)
        self.width: Final = softmax.hidden_size
        self.words: Final = softmax.cutoffs[-1]
        self.n_clusters: Final = softmax.n_clusters
        self.halves = True
        self._library = load()
        self._kept: list[Tensor] = []  # the library reads these rows as long as it lives
        model = self._library.hf_model_new(self.level.encode(), self.width, self.words, len(softmax.tails))
        check(0 if model else OUT_OF_MEMORY)
        self.handle: Final = ctypes.c_void_p(model)
        # Not by __del__: it must outlive any call under way, and at exit a thread may still be in one.
        weakref.finalize(self, self._library.hf_model_free, self.handle).atexit = False
        self._pack(softmax)

    def _pack(self, softmax: AdaptiveSoftmax) -> None:
        call, model = self._library, self.handle
        # A projection of the head is multiplied into it; where a band has none, it gets the identity.
        head, half = self._keep(softmax.head_weight())
        bias, n = self._bias(softmax.head_bias), softmax.shortlist
        check(call.hf_model_head(model, head, bias, n, self.n_clusters, half))
        for band in range(len(softmax.tails)):
            projection = softmax.projection_weight(band)
            rows, half = self._keep(projection)
            check(call.hf_model_projection(model, band, rows, len(projection), half))
        weights = [softmax.tail_weight(band) for band in range(len(softmax.tails))]
        tails = [self._keep(weight) for weight in weights]
        biases = [self._bias(one) for one in softmax.tail_biases or [None] * len(tails)]
        done = dict.fromkeys(range(len(tails)), 0)
        for cluster, (low, high) in enumerate(pairwise(softmax.cutoffs)):
            band = softmax.band_of[cluster]
            (rows, half), width, at = tails[band], weights[band].shape[1], done[band]
            bias = biases[band]
            check(
                call.hf_model_cluster(
                    model, band, rows + 4 * at * width, None if bias is None else bias + 4 * at,
                    low, high - low, half,
                )
            )  # fmt: skip
            done[band] += high - low
        excluded = softmax.excluded.nonzero()[:, 0].contiguous()
        check(call.hf_model_finish(model, excluded.data_ptr(), len(excluded), True))
        call.hf_model_spectral(model, spectral_loss(softmax.head_weight()[:n]))

    def _keep(self, weight: Tensor) -> tuple[int, bool]:
        """Where the weight's floats are, and whether they are float16 numbers."""
        weight = weight.detach().contiguous()
        half = bool(torch.equal(weight.half().float(), weight))
        self.halves = self.halves and half
        self._kept.append(weight)
        return weight.data_ptr(), half

    def _bias(self, values: Tensor | None) -> int | None:
        return None if values is None else self._keep(values)[0]


def spectral_loss(rows: Tensor) -> float:
    """At least the largest singular value of what 8 bits lose of `rows` (N, d): no unit vector has larger
    errors, in the Euclidean norm over all rows' products with it.

    The codes are those of ``pack_screen`` in ``src/model.cpp``.
    """
    gram = torch.zeros(rows.shape[1], rows.shape[1])
    for part in torch.split(rows.detach(), GRAM_ROWS):
        largest = part.abs().amax(1, keepdim=True)
        codes = (part * (127 / largest).where(largest > 0, 0.0)).round()
        lost = part - largest / 127 * codes
        gram += lost.T @ lost
    # Sums of squares in float32 are off by far less than the last factor.
    return float(torch.linalg.eigvalsh(gram.double())[-1].clamp(min=0).sqrt()) * 1.001


def check(code: int) -> None:
    """Raises what a result of the library stands for.

    Raises:
        MemoryError: it had too little.
        ValueError: a hidden row that is not finite.
    """
    if code == OUT_OF_MEMORY:
        raise MemoryError("the CPU kernel ran out of memory")
    if code > 0:
        raise ValueError(f"hidden row {code - 1} is not finite, or its logits are not")
