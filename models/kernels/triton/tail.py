# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Step 3 of the top-k: the opened clusters, many small ones and few large ones alike, by persistent programs.

How much there is to do is known on the device only. Each program reads all list lengths at once, knows from
their running totals how many pieces there are and takes every n-th; with nothing opened it leaves at once.

`tail_kernel`: a piece is a tile of TILE words of one cluster for up to BLOCK_B rows of its list.
    reads   the opened clusters' weights once per BLOCK_B rows, 2 words width bytes; projected rows, float32
    writes  per row and tile the best key and the log-sum-exp: 12 bytes for TILE words
    roofline: bytes of the opened clusters, or 4 rows words width FLOPs (rows are split in two terms)
`gather_kernel`: a piece is a (row, opened cluster) pair.
    reads   the tiles' log-sum-exps and keys: 12 bytes a tile
    writes  log Z of the cluster; to the row's list the tiles whose best word still competes
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton.common import (
    INTERPRETED,
    NO_KEY,
    dot,
    find_item,
    is_allowed,
    key_id,
    key_value,
    make_key,
)

# Words of a tail tile; what the last step scores again is a whole tile.
TILE = 64


@triton.jit
def tail_kernel(
    logits,  # (rows, n_columns) float32: its last columns are the projected rows
    weights,  # flat: the clusters' (words, width) one after another
    bias,  # (tail words,) float32
    excluded,  # (tail words,) int8
    masks,  # (rows, n_words) int32: a bit a word that may be answered; not read unless MASKED
    clusters,  # (5, n_clusters) int64: first word - shortlist, words, offset, width, column of projection
    first_tiles,  # (n_clusters,) int32
    counts,  # (n_clusters,) int32
    lists,  # (n_clusters, max_rows) int32
    tile_keys,  # (rows, n_tiles) int64
    tile_lses,  # (rows, n_tiles) float32
    n_columns,
    n_clusters,
    n_tiles,
    max_rows,
    shortlist,
    n_words,
    CLUSTERS: tl.constexpr,
    MAX_WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Grid: any number of programs."""
    all_clusters = tl.arange(0, CLUSTERS)
    real = all_clusters < n_clusters
    lengths = tl.load(counts + all_clusters, mask=real, other=0)
    sizes = tl.load(clusters + n_clusters + all_clusters, mask=real, other=0).to(tl.int32)
    work = tl.cdiv(lengths, BLOCK_B) * tl.cdiv(sizes, TILE)
    ends = tl.cumsum(work, 0)
    n_items = tl.sum(work)
    v = tl.arange(0, TILE)
    kk = tl.arange(0, BLOCK_K)
    item = tl.program_id(0)
    while item < n_items:
        cluster, before = find_item(item, ends)
        n_rows = tl.load(counts + cluster)
        blocks = tl.cdiv(n_rows, BLOCK_B)
        tile = (item - before) // blocks
        b = (item - before) % blocks * BLOCK_B + tl.arange(0, BLOCK_B)
        row = tl.load(lists + cluster * max_rows + b, mask=b < n_rows, other=0).to(tl.int64)
        word = tile * TILE + v
        first = tl.load(clusters + cluster)
        size = tl.load(clusters + n_clusters + cluster).to(tl.int32)
        offset = tl.multiple_of(tl.load(clusters + 2 * n_clusters + cluster), 16)
        width = tl.multiple_of(tl.load(clusters + 3 * n_clusters + cluster).to(tl.int32), 16)
        column = tl.multiple_of(tl.load(clusters + 4 * n_clusters + cluster), 16)
        # The flat weights end in a tile of zeros: reading beyond a cluster is safe, and masked below.
        w_at = weights + offset + word[:, None].to(tl.int64) * width + kk[None, :]
        p_at = logits + row[None, :] * n_columns + column + kk[:, None]
        total = tl.zeros((TILE, BLOCK_B), tl.float32)
        # The interpreter has no loops of a length known on the device only; there the masks do it.
        for step in range(
            0, (MAX_WIDTH + BLOCK_K - 1) // BLOCK_K if INTERPRETED else tl.cdiv(width, BLOCK_K)
        ):
            k = step * BLOCK_K + kk
            w = tl.load(w_at + step * BLOCK_K, mask=(k < width)[None, :], other=0.0)
            p = tl.load(p_at + step * BLOCK_K, mask=(k < width)[:, None], other=0.0)
            total = dot(w, p, total)
        inside = word < size
        z = total + tl.load(bias + first + word, mask=inside, other=float("-inf"))[:, None]
        top = tl.max(z, 0)
        lse = top + tl.log(tl.sum(tl.exp(z - top[None, :]), 0))
        free = inside & (tl.load(excluded + first + word, mask=inside, other=1) == 0)
        word_id = shortlist + first.to(tl.int32) + tl.minimum(word, size - 1)
        free = free[:, None] & (b < n_rows)[None, :]
        if MASKED:
            free &= is_allowed(masks, row[None, :], n_words, word_id[:, None])
        key = tl.max(tl.where(free, make_key(z, word_id[:, None]), NO_KEY), 0)
        at = row * n_tiles + tl.load(first_tiles + cluster) + tile
        tl.store(tile_lses + at, lse, mask=b < n_rows)
        tl.store(tile_keys + at, key, mask=b < n_rows)
        item += tl.num_programs(0)


@triton.jit
def gather_kernel(
    logits,
    clusters,
    first_tiles,
    counts,
    lists,
    tile_keys,
    tile_lses,
    thresholds,  # (rows,) int64
    cluster_lses,  # (rows, n_clusters) float32
    entries,  # (rows, n_tiles) int64: keys of tiles that compete, in units of head logits
    entry_counts,  # (rows,) int32, zero before
    n_columns,
    n_clusters,
    n_tiles,
    max_rows,
    cluster_column,
    CLUSTERS: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Grid: any number of programs."""
    all_clusters = tl.arange(0, CLUSTERS)
    lengths = tl.load(counts + all_clusters, mask=all_clusters < n_clusters, other=0)
    ends = tl.cumsum(lengths, 0)
    n_items = tl.sum(lengths)
    chunk = tl.arange(0, CHUNK)
    item = tl.program_id(0)
    while item < n_items:
        cluster, before = find_item(item, ends)
        row = tl.load(lists + cluster * max_rows + item - before).to(tl.int64)
        tiles = tl.cdiv(tl.load(clusters + n_clusters + cluster).to(tl.int32), TILE)
        start = row * n_tiles + tl.load(first_tiles + cluster)
        top = tl.load(tile_lses + start)
        mass = tl.full((), 0.0, tl.float32)
        done = tl.full((), 0, tl.int32)
        while done < tiles:
            inside = done + chunk < tiles
            lse = tl.load(tile_lses + start + done + chunk, mask=inside, other=float("-inf"))
            higher = tl.maximum(top, tl.max(lse))
            mass = mass * tl.exp(top - higher) + tl.sum(tl.exp(lse - higher))
            top = higher
            done += CHUNK
        log_z = top + tl.log(mass)
        tl.store(cluster_lses + row * n_clusters + cluster, log_z)
        z = tl.load(logits + row * n_columns + cluster_column + cluster)
        threshold = tl.load(thresholds + row)
        done = tl.full((), 0, tl.int32)
        while done < tiles:
            inside = done + chunk < tiles
            key = tl.load(tile_keys + start + done + chunk, mask=inside, other=NO_KEY)
            known = key > NO_KEY
            score = z + tl.minimum(tl.where(known, key_value(key), log_z) - log_z, 0.0)
            key = tl.where(known, make_key(score, key_id(key)), NO_KEY)
            kept = known & (key >= threshold)
            n = tl.sum(kept.to(tl.int32))
            if n > 0:
                place = tl.atomic_add(entry_counts + row, n) + tl.cumsum(kept.to(tl.int32), 0) - 1
                tl.store(entries + row * n_tiles + place, key, mask=kept)
            done += CHUNK
        item += tl.num_programs(0)
