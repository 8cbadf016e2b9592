# mypy: disable-error-code="import-not-found"
"""Device memory that the kernels of a search pass on to each other: allocated once; graphs hold addresses.

`Shared` belongs to all searches of one `TritonTopK`, which run one after another; `Workspace` to those with
a k of about one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
import triton
from torch import Tensor

from models.kernels.triton.weights import TILE, PackedWeights

# k is rounded up to one of these, which the kernels are built for; the value is the most rows of a search.
K_CAPS: Final = {16: 1024, 128: 1024, 1024: 64}

# Bytes of shared memory for what a kernel needs beside its pipeline.
SPARE_SHARED: Final = 12 << 10


@dataclass(frozen=True, slots=True)
class Tuning:
    """What only a measurement on the card can choose. `blas_rows`: more rows than this go to cuBLAS."""

    blas_rows: int = 64
    head_block_v: int = 64
    head_block_k: int = 128
    head_warps: int = 4
    head_stages: int = 4
    tail_block_k: int = 64
    tail_warps: int = 4
    tail_stages: int = 3
    tail_programs: int = 4  # a multiprocessor
    stats_block: int = 2048
    row_warps: int = 4  # select and finish, for few groups


class Workspace:
    """`rows` rows with k up to `cap`. `group`: words of the head that share one best key.

    Fewer words a group make the threshold tighter, more make the selection cheaper: at least four groups for
    every word that is asked for.
    """

    def __init__(self, weights: PackedWeights, cap: int, rows: int) -> None:
        make = partial(torch.empty, device=weights.device)
        n = max(1, weights.n_clusters)
        self.cap, self.rows = cap, rows
        self.group = TILE
        while self.group > 1 and -(-weights.shortlist // TILE) * (TILE // self.group) < 4 * cap:
            self.group //= 2
        self.n_groups = weights.lse_columns // self.group
        self.max_slots = cap + cap // 8
        self.max_candidates = self.max_slots * TILE
        self.keys = make(rows, self.n_groups, dtype=torch.int64)
        self.thresholds = make(rows, dtype=torch.int64)
        self.log_z = make(rows)
        self.expanded = make(rows, n, dtype=torch.int8)
        self.counts = make(n, dtype=torch.int32)
        self.lists = make(n, rows, dtype=torch.int32)
        self.cluster_lses = make(rows, n)
        self.entry_counts = make(rows, dtype=torch.int32)
        self.slots = make(rows, self.max_slots, dtype=torch.int32)
        self.tile_count = make(1, dtype=torch.int32)
        self.tile_rows = make(rows * self.max_slots, dtype=torch.int32)
        self.tile_ids = make(rows * self.max_slots, dtype=torch.int32)
        self.floors = make(rows)
        self.candidate_counts = make(rows, dtype=torch.int32)
        self.candidates = make(rows, self.max_candidates, dtype=torch.int64)
        self.ids = make(rows, cap, dtype=torch.int64)
        self.logprobs = make(rows, cap)


class Shared:
    """`logits` has two rows a hidden row where float32 rows meet 16-bit weights in a cuBLAS product: each of
    their two terms has logits of its own, added up by the next kernel."""

    def __init__(self, weights: PackedWeights, rows: int, tuning: Tuning) -> None:
        self.rows = max(16, rows)
        self.n_words = -(-weights.vocabulary_size // 32)
        self._weights = weights
        make = partial(torch.empty, device=weights.device)
        tiles = max(1, weights.n_tiles)
        two = rows > tuning.blas_rows and weights.dtype != torch.float32
        self.logits = make(self.rows * (2 if two else 1), weights.columns)
        self.lses = make(self.rows, -(-weights.lse_columns // min(tuning.head_block_v, tuning.stats_block)))
        self.tile_keys = make(self.rows, tiles, dtype=torch.int64)
        self.tile_lses = make(self.rows, tiles)
        self.entries = make(self.rows, tiles, dtype=torch.int64)
        self.shape = torch.zeros(1, dtype=torch.int32, device=weights.device)
        # Rows beyond those asked for are computed too, so they must be numbers.
        self.hidden = {
            dtype: torch.zeros(self.rows, weights.depth, device=weights.device, dtype=dtype)
            for dtype in {weights.dtype, torch.float32}
        }
        self.masks = torch.empty(0, dtype=torch.int32, device=weights.device)
        self.usable = torch.empty(0, dtype=torch.int8, device=weights.device)

    def make_masks(self) -> None:
        """Room for `allowed`, which many servers never need: a bit a word, V / 8 bytes a row."""
        if not len(self.masks):
            make = partial(torch.zeros, device=self._weights.device)
            self.masks = make(self.rows, self.n_words, dtype=torch.int32)
            # The first column is the head's, which needs no opening.
            self.usable = make(self.rows, 1 + self._weights.n_clusters, dtype=torch.int8)


def count_bytes(*spaces: Shared | Workspace) -> int:
    """Device memory of the buffers."""
    values = [value for space in spaces for value in vars(space).values()]
    tensors = [value for value in values if isinstance(value, Tensor)]
    tensors += [tensor for value in values if isinstance(value, dict) for tensor in value.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def stages(wanted: int, block_v: int, block_b: int, block_k: int, weight: Tensor, rows: Tensor) -> int:
    """How many of `wanted` stages of a software pipeline fit the shared memory of `weight`'s device."""
    if weight.device.type != "cuda":
        return wanted
    properties = triton.runtime.driver.active.utils.get_device_properties(weight.device.index or 0)
    room = int(properties["max_shared_mem"]) - SPARE_SHARED
    return max(1, min(wanted, room // (block_k * (block_v * weight.itemsize + block_b * rows.itemsize))))


def power(n: int) -> int:
    """The next power of two, at least 1: what a block's size must be."""
    return int(triton.next_power_of_2(max(1, n)))
