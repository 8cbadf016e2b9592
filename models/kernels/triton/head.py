# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Step 1 of the top-k: float32 logits of the head, and what the selection needs to know of each tile.

`head_kernel`, for batches whose weights cost more time than their arithmetic (up to about 64 rows): a program
multiplies a tile of the packed weights with up to BLOCK_B rows.
    reads   W (C, d) 16 bit once per BLOCK_B rows, hidden (B, d)
    writes  logits (B, C) float32; per row and GROUP of words the best key, per tile the log-sum-exp
    roofline: 2 C d bytes for up to BLOCK_B rows (41 MB at 20,000 x 1,024: 9.5 us at 4.3 TB/s, 13.7 at 3.0)
              2 B C d FLOPs, twice that for float32 rows
`stats_kernel`, after a cuBLAS product for larger batches: reads the logits (once more, if biased or in two
terms, writes them) and leaves the same statistics. 4 B C bytes.

C counts the short-list, one column a cluster and the bands' projections: those ride along in the same
product, so that no tail needs one of its own.
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton.common import NO_KEY, asked_rows, dot, is_allowed, log_sum_exp, make_key


@triton.jit
def head_kernel(
    hidden,  # (rows, D) 16 bit or float32
    weight,  # (C, D)
    bias,  # (C,) float32; -inf in columns of padding
    word_ids,  # (C,) int32; -1 where the column has no word that may be answered
    masks,  # (rows, n_words) int32: a bit a word that may be answered; not read unless MASKED
    shape,  # (1,) int32: rows and k, see `asked_rows`
    logits,  # (rows, C) float32
    keys,  # (rows, n_groups) int64
    lses,  # (rows, n_tiles) float32
    counts,  # (clusters,) int32: set to zero for the next kernel
    n_columns,
    n_groups,
    n_tiles,  # the tiles of words and clusters; those after them hold projections
    n_clusters,
    n_words,
    D: tl.constexpr,
    CLUSTERS: tl.constexpr,
    GROUP: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid (C / BLOCK_V, rows / BLOCK_B)."""
    tile = tl.program_id(0)
    if (tile == 0) & (tl.program_id(1) == 0):
        cluster = tl.arange(0, CLUSTERS)
        tl.store(counts + cluster, tl.zeros_like(cluster), mask=cluster < n_clusters)
    v = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    b = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    kk = tl.arange(0, BLOCK_K)
    w_at = weight + v[:, None].to(tl.int64) * D + kk[None, :]
    h_at = hidden + b[None, :] * D + kk[:, None]
    total = tl.zeros((BLOCK_V, BLOCK_B), tl.float32)
    for start in range(0, D, BLOCK_K):
        total = dot(tl.load(w_at + start), tl.load(h_at + start), total)
    z = total + tl.load(bias + v)[:, None]
    asked = b < asked_rows(shape)
    tl.store(logits + b[None, :].to(tl.int64) * n_columns + v[:, None], z, mask=asked[None, :])
    if tile < n_tiles:
        top = tl.max(z, 0)
        base = tl.where(top == float("-inf"), 0.0, top)
        mass = tl.sum(tl.exp(z - base[None, :]), 0)
        lse = tl.where(mass > 0, base + tl.log(tl.where(mass > 0, mass, 1.0)), float("-inf"))
        tl.store(lses + b * n_tiles + tile, lse, mask=asked)
        word_id = tl.load(word_ids + v)
        free = (word_id >= 0)[:, None] & asked[None, :]
        word_id = tl.maximum(word_id, 0)[:, None]
        if MASKED:
            free &= is_allowed(masks, b[None, :], n_words, word_id)
        key = tl.where(free, make_key(z, word_id), NO_KEY)
        best = tl.max(tl.reshape(key, (BLOCK_V // GROUP, GROUP, BLOCK_B)), 1)
        group = tile * (BLOCK_V // GROUP) + tl.arange(0, BLOCK_V // GROUP)
        tl.store(keys + b[None, :] * n_groups + group[:, None], best, mask=asked[None, :])


@triton.jit
def stats_kernel(
    bias,
    word_ids,
    masks,
    shape,
    logits,  # (rows, C) or, in two terms, (2 * rows, C) float32
    keys,
    lses,  # (rows, n_parts) float32
    counts,
    n_columns,
    n_groups,
    n_parts,
    n_lse_columns,
    n_clusters,
    n_words,
    rows,
    TERMS: tl.constexpr,
    BIASED: tl.constexpr,
    CLUSTERS: tl.constexpr,
    GROUP: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid (rows, C / BLOCK)."""
    row = tl.program_id(0)
    part = tl.program_id(1)
    if (row == 0) & (part == 0):
        cluster = tl.arange(0, CLUSTERS)
        tl.store(counts + cluster, tl.zeros_like(cluster), mask=cluster < n_clusters)
    if row < asked_rows(shape):
        v = part * BLOCK + tl.arange(0, BLOCK)
        inside = v < n_columns
        at = logits + row.to(tl.int64) * n_columns + v
        z = tl.load(at, mask=inside, other=float("-inf"))
        if TERMS == 2:
            low = logits + (row.to(tl.int64) + rows) * n_columns + v
            z += tl.load(low, mask=inside, other=0.0)
        offset = tl.load(bias + v, mask=inside, other=float("-inf"))
        z += offset
        if BIASED or TERMS == 2:
            tl.store(at, z, mask=inside)
        if part < n_parts:
            in_head = v < n_lse_columns
            tl.store(lses + row * n_parts + part, log_sum_exp(tl.where(in_head, z, float("-inf"))))
            word_id = tl.load(word_ids + v, mask=in_head, other=-1)
            free = word_id >= 0
            word_id = tl.maximum(word_id, 0)
            if MASKED:
                free &= is_allowed(masks, row, n_words, word_id)
            key = tl.where(free, make_key(z, word_id), NO_KEY)
            best = tl.max(tl.reshape(key, (BLOCK // GROUP, GROUP)), 1)
            group = part * (BLOCK // GROUP) + tl.arange(0, BLOCK // GROUP)
            tl.store(keys + row * n_groups + group, best, mask=group < n_groups)
