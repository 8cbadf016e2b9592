# mypy: disable-error-code="import-not-found"
"""Target scoring on the GPU: what the kernels in score.py are given, in what order.

Peak memory beside inputs and weights, a row: 4 bytes a tile of the head (628 at 20,000 words) and a part of
the largest cluster (4 bytes for 512 words), 4 bytes for each dimension of all projections, and the lists, 4
bytes a cluster; nothing of the vocabulary's size. Rows are taken `MAX_ROWS` at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from models.kernels.triton.buffers import power, stages
from models.kernels.triton.score import combine_kernel, lse_kernel, section_kernel, tail_lse_kernel
from models.kernels.triton.topk import multiply
from models.kernels.triton.weights import TILE, PackedWeights

MAX_ROWS: Final = 16384


@dataclass(frozen=True, slots=True)
class ScoreTuning:
    """What only a measurement on the card can choose. `block_b` and `tail_block_b` are upper bounds."""

    block_b: int = 128
    block_v: int = 128
    block_k: int = 64
    warps: int = 8
    stages: int = 4
    together: int = 8
    tail_block_b: int = 64
    tail_block_k: int = 64
    tail_tiles: int = 8
    tail_warps: int = 4
    tail_stages: int = 3
    tail_programs: int = 4  # a multiprocessor


class TritonScorer:
    """Log-probabilities of given words; see `AdaptiveSoftmax.target_logprobs`."""

    def __init__(self, weights: PackedWeights, tuning: ScoreTuning | None = None) -> None:
        self.weights, self.tuning = weights, tuning or ScoreTuning()
        self._part_words = TILE * self.tuning.tail_tiles
        sizes = weights.clusters[1].tolist() if weights.n_clusters else []
        self._max_parts = -(-max(sizes, default=1) // self._part_words)
        self._programs = 3
        if weights.device.type == "cuda":
            processors = torch.cuda.get_device_properties(weights.device).multi_processor_count
            self._programs = processors * self.tuning.tail_programs

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """(N,) float32 log-probabilities of `targets` (N,) int64 after `hidden` (N, d).

        `hidden` is of the weights' type or float32. Waits for nothing. A target outside the vocabulary
        scores NaN: an error would have to wait for the device.
        """
        out = torch.empty(len(targets), device=self.weights.device)
        for start in range(0, len(targets), MAX_ROWS):
            rows = slice(start, start + MAX_ROWS)
            self._score(self._pad(hidden[rows]), targets[rows].contiguous(), out[rows])
        return out

    def _pad(self, hidden: Tensor) -> Tensor:
        w = self.weights
        dtype = hidden.dtype if hidden.dtype == w.dtype else torch.float32
        if hidden.dtype == dtype and hidden.shape[1] == w.depth:
            return hidden.contiguous()
        rows = torch.zeros(len(hidden), w.depth, dtype=dtype, device=w.device)
        rows[:, : hidden.shape[1]] = hidden
        return rows

    def _score(self, hidden: Tensor, targets: Tensor, out: Tensor) -> None:
        w, tuning, n = self.weights, self.tuning, len(hidden)
        n_clusters, device = w.n_clusters, w.device
        block_b = min(tuning.block_b, max(16, power(n)))
        n_tiles = w.lse_columns // tuning.block_v
        lses = torch.empty(n, n_tiles, device=device)
        picked = torch.empty(2, n, device=device)
        lse_kernel[(-(-n // block_b) * n_tiles,)](
            hidden, w.head, w.bias, targets, w.head_columns, lses, picked[0], n_rows=n, n_tiles=n_tiles,
            vocabulary_size=w.vocabulary_size, D=w.depth, BLOCK_B=block_b, BLOCK_V=tuning.block_v,
            BLOCK_K=tuning.block_k, TOGETHER=tuning.together, num_warps=tuning.warps if block_b > 32 else 4,
            num_stages=stages(tuning.stages, tuning.block_v, block_b, tuning.block_k, w.head, hidden),
        )  # fmt: skip
        tail_lses = lses
        if n_clusters:
            tail_lses = self._score_tails(hidden, targets, picked[1])
        combine_kernel[(n,)](
            targets, w.sections, w.clusters, lses, picked[0], tail_lses, picked[1], out,
            n_clusters=n_clusters, n_tiles=n_tiles, max_parts=self._max_parts,
            vocabulary_size=w.vocabulary_size, TILES=power(n_tiles), PARTS=power(self._max_parts),
            PART_WORDS=self._part_words, num_warps=1,
        )  # fmt: skip

    def _score_tails(self, hidden: Tensor, targets: Tensor, picked: Tensor) -> Tensor:
        w, tuning, n = self.weights, self.tuning, len(hidden)
        counts = torch.zeros(w.n_clusters, dtype=torch.int32, device=w.device)
        lists = torch.empty(w.n_clusters, n, dtype=torch.int32, device=w.device)
        section_kernel[(-(-n // 256),)](
            targets, w.sections, counts, lists, n_rows=n, max_rows=n, vocabulary_size=w.vocabulary_size,
            BLOCK=256, num_warps=4,
        )  # fmt: skip
        projections = w.head[w.lse_columns :]
        terms = 1 if hidden.dtype == w.dtype else 2
        projected = torch.empty(terms * n, len(projections), device=w.device)
        multiply(hidden, projections, projected)
        if terms == 2:
            projected[:n].add_(projected[n:])
        lses = torch.empty(n, self._max_parts, device=w.device)
        block_b = min(tuning.tail_block_b, max(16, power(n // 8)))
        block_k = min(tuning.tail_block_k, power(w.max_width))
        tail_lse_kernel[(self._programs,)](
            projected, w.tails, w.tail_bias, targets, w.clusters, counts, lists, lses, picked,
            n_clusters=w.n_clusters, max_rows=n, max_parts=self._max_parts, n_widths=len(projections),
            first_column=w.lse_columns, shortlist=w.shortlist, CLUSTERS=power(w.n_clusters),
            MAX_WIDTH=w.max_width, TILE=TILE, TILES=tuning.tail_tiles, BLOCK_B=block_b,
            BLOCK_K=block_k, num_warps=tuning.tail_warps,
            num_stages=stages(tuning.tail_stages, TILE, block_b, block_k, w.tails, projected),
        )  # fmt: skip
        return lses
