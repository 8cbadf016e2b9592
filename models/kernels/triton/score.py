# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Log-probabilities of given words on the GPU; logits never reach memory.

section_kernel   rows -> a list of rows for each target cluster
lse_kernel       head product; of each tile only the log-sum-exp of a row, and the target's logit
tail_lse_kernel  the same for each cluster and the rows on its list, by persistent programs
combine_kernel   target logit - log Z of the head, plus the same of the cluster

reads   N d hidden rows, C d head weights, the weights of clusters that hold a target
writes  4 bytes a row and tile of 128 columns (157 tiles at 20,000 words: 1/128 of the logits)
roofline: 2 N C d FLOPs (8,192 rows, 20,000 x 1,024: 336 GFLOP, 0.42 ms at 790 TFLOP/s), twice that for
          float32 rows beside 16-bit weights; exp: one a logit, 10% of the time if nothing hides it
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton.common import INTERPRETED, dot, find_item, log_sum_exp


@triton.jit
def section_kernel(
    targets,  # (N,) int64
    sections,  # (V,) int32
    counts,  # (n_clusters,) int32, zero before
    lists,  # (n_clusters, max_rows) int32
    n_rows,
    max_rows,
    vocabulary_size,
    BLOCK: tl.constexpr,
):
    """Grid (N / BLOCK,)."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    target = tl.load(targets + row, mask=row < n_rows, other=-1)
    known = (target >= 0) & (target < vocabulary_size)
    cluster = tl.load(sections + target, mask=known, other=0) - 1
    place = tl.atomic_add(counts + cluster, tl.full((BLOCK,), 1, tl.int32), mask=cluster >= 0)
    tl.store(lists + cluster * max_rows + place, row, mask=cluster >= 0)


@triton.jit
def lse_kernel(
    hidden,  # (N, D)
    weight,  # (C, D)
    bias,  # (C,) float32
    targets,  # (N,) int64
    head_columns,  # (V,) int32
    lses,  # (N, n_tiles) float32
    picked,  # (N,) float32
    n_rows,
    n_tiles,
    vocabulary_size,
    D: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TOGETHER: tl.constexpr,
):
    """Grid (N / BLOCK_B * n_tiles,). TOGETHER blocks of rows go through the tiles side by side, so that a
    tile of weights is read from the second-level cache by all but the first."""
    n_blocks = tl.cdiv(n_rows, BLOCK_B)
    span = TOGETHER * n_tiles
    first = tl.program_id(0) // span * TOGETHER
    size = tl.minimum(n_blocks - first, TOGETHER)
    block = first + tl.program_id(0) % span % size
    tile = tl.program_id(0) % span // size
    b = block * BLOCK_B + tl.arange(0, BLOCK_B)
    v = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    kk = tl.arange(0, BLOCK_K)
    inside = b < n_rows
    h_at = hidden + tl.where(inside, b, 0)[None, :].to(tl.int64) * D + kk[:, None]
    w_at = weight + v[:, None].to(tl.int64) * D + kk[None, :]
    total = tl.zeros((BLOCK_V, BLOCK_B), tl.float32)
    for start in range(0, D, BLOCK_K):
        total = dot(tl.load(w_at + start), tl.load(h_at + start), total)
    z = total + tl.load(bias + v)[:, None]
    top = tl.max(z, 0)
    base = tl.where(top == float("-inf"), 0.0, top)
    mass = tl.sum(tl.exp(z - base[None, :]), 0)
    lse = tl.where(mass > 0, base + tl.log(tl.where(mass > 0, mass, 1.0)), float("-inf"))
    tl.store(lses + b.to(tl.int64) * n_tiles + tile, lse, mask=inside)
    target = tl.load(targets + b, mask=inside, other=-1)
    known = (target >= 0) & (target < vocabulary_size)
    column = tl.load(head_columns + target, mask=known, other=-1)
    found = tl.sum(tl.where(v[:, None] == column[None, :], z, 0.0), 0)
    here = (column >= tile * BLOCK_V) & (column < (tile + 1) * BLOCK_V)
    tl.store(picked + b, found, mask=here)


@triton.jit
def tail_lse_kernel(
    projected,  # (N, widths) float32
    weights,  # flat
    bias,  # (tail words,) float32
    targets,
    clusters,  # (5, n_clusters) int64
    counts,
    lists,
    lses,  # (N, max_parts) float32
    picked,  # (N,) float32
    n_clusters,
    max_rows,
    max_parts,
    n_widths,
    first_column,  # of the head's columns, that of the first projection
    shortlist,
    CLUSTERS: tl.constexpr,
    MAX_WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid: any number of programs. A piece is TILES tiles of one cluster for BLOCK_B rows of its list."""
    all_clusters = tl.arange(0, CLUSTERS)
    real = all_clusters < n_clusters
    lengths = tl.load(counts + all_clusters, mask=real, other=0)
    sizes = tl.load(clusters + n_clusters + all_clusters, mask=real, other=0).to(tl.int32)
    work = tl.cdiv(lengths, BLOCK_B) * tl.cdiv(sizes, TILE * TILES)
    ends = tl.cumsum(work, 0)
    n_items = tl.sum(work)
    kk = tl.arange(0, BLOCK_K)
    item = tl.program_id(0)
    while item < n_items:
        cluster, before = find_item(item, ends)
        n_rows = tl.load(counts + cluster)
        blocks = tl.cdiv(n_rows, BLOCK_B)
        part = (item - before) // blocks
        b = (item - before) % blocks * BLOCK_B + tl.arange(0, BLOCK_B)
        inside = b < n_rows
        row = tl.load(lists + cluster * max_rows + b, mask=inside, other=0).to(tl.int64)
        first = tl.load(clusters + cluster)
        size = tl.load(clusters + n_clusters + cluster).to(tl.int32)
        offset = tl.multiple_of(tl.load(clusters + 2 * n_clusters + cluster), 16)
        width = tl.multiple_of(tl.load(clusters + 3 * n_clusters + cluster).to(tl.int32), 16)
        column = tl.multiple_of(tl.load(clusters + 4 * n_clusters + cluster) - first_column, 16)
        wanted = (tl.load(targets + row, mask=inside, other=-1) - shortlist - first).to(tl.int32)
        p_at = projected + row[None, :] * n_widths + column + kk[:, None]
        top = tl.full((BLOCK_B,), float("-inf"), tl.float32)
        mass = tl.zeros((BLOCK_B,), tl.float32)
        found = tl.zeros((BLOCK_B,), tl.float32)
        tile = part * TILES
        last = tl.minimum(tile + TILES, tl.cdiv(size, TILE))
        while tile < last:
            word = tile * TILE + tl.arange(0, TILE)
            w_at = weights + offset + word[:, None].to(tl.int64) * width + kk[None, :]
            total = tl.zeros((TILE, BLOCK_B), tl.float32)
            for step in range(
                0, (MAX_WIDTH + BLOCK_K - 1) // BLOCK_K if INTERPRETED else tl.cdiv(width, BLOCK_K)
            ):
                k = step * BLOCK_K + kk
                w = tl.load(w_at + step * BLOCK_K, mask=(k < width)[None, :], other=0.0)
                p = tl.load(p_at + step * BLOCK_K, mask=(k < width)[:, None], other=0.0)
                total = dot(w, p, total)
            z = total + tl.load(bias + first + word, mask=word < size, other=float("-inf"))[:, None]
            higher = tl.maximum(top, tl.max(z, 0))
            mass = mass * tl.exp(top - higher) + tl.sum(tl.exp(z - higher[None, :]), 0)
            top = higher
            found += tl.sum(tl.where(word[:, None] == wanted[None, :], z, 0.0), 0)
            tile += 1
        tl.store(lses + row * max_parts + part, top + tl.log(mass), mask=inside)
        here = (wanted >= part * TILES * TILE) & (wanted < last * TILE)
        tl.store(picked + row, found, mask=inside & here)
        item += tl.num_programs(0)


@triton.jit
def combine_kernel(
    targets,
    sections,
    clusters,
    head_lses,
    head_picked,
    tail_lses,
    tail_picked,
    out,  # (N,) float32
    n_clusters,
    n_tiles,
    max_parts,
    vocabulary_size,
    TILES: tl.constexpr,
    PARTS: tl.constexpr,
    PART_WORDS: tl.constexpr,
):
    """Grid (N,)."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    if (target >= 0) & (target < vocabulary_size):
        tile = tl.arange(0, TILES)
        lse = tl.load(head_lses + row * n_tiles + tile, mask=tile < n_tiles, other=float("-inf"))
        logprob = tl.load(head_picked + row) - log_sum_exp(lse)
        cluster = tl.load(sections + target) - 1
        if cluster >= 0:
            part = tl.arange(0, PARTS)
            size = tl.load(clusters + n_clusters + cluster).to(tl.int32)
            mine = part < tl.cdiv(size, PART_WORDS)
            tail = tl.load(tail_lses + row * max_parts + part, mask=mine, other=float("-inf"))
            logprob += tl.load(tail_picked + row) - log_sum_exp(tail)
        tl.store(out + row, logprob)
    else:
        tl.store(out + row, float("nan"))
