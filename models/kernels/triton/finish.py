# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Step 4 of the top-k: the few surviving groups and tiles, word by word, and the exact order.

The k-th largest among the head groups' and the competing tail tiles' best keys bounds the k-th best word from
below, so the k best words lie in the about k groups and tiles at or above it.

`pick_kernel`, a program a row, finds them. Words of the head have their logits in memory: those that may be
    among the k best become candidates at once. Surviving tiles go to one list for all rows.
    reads   8 B a group of the head and a competing tile, 4 GROUP bytes a surviving group
`rescore_kernel`, persistent programs: a surviving tile each, its words scored again.
    reads   TILE rows of weights a tile: 32 KB at width 256
`rank_kernel`, a program a row: the candidates, mostly little more than k, ranked by counting, by the
    log-probability that is answered and then by id.
    writes  ids and log-probabilities (rows, k)
    roofline: latency, of all three
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton.common import (
    INTERPRETED,
    MAX_ID,
    NO_KEY,
    asked_k,
    asked_rows,
    between,
    is_allowed,
    key_id,
    key_value,
    make_key,
    two_terms,
)


@triton.jit
def count_at_least(keys, n, least, CHUNK: tl.constexpr):
    """How many of the `n` keys in memory at `keys` are at least `least`."""
    total = tl.full((), 0, tl.int32)
    done = tl.full((), 0, tl.int32)
    while done < n:
        at = done + tl.arange(0, CHUNK)
        total += tl.sum((tl.load(keys + at, mask=at < n, other=NO_KEY) >= least).to(tl.int32))
        done += CHUNK
    return total


@triton.jit
def largest(keys, n, CHUNK: tl.constexpr):
    """The largest of the `n` keys in memory at `keys`; NO_KEY of none."""
    best = tl.full((), NO_KEY, tl.int64)
    done = tl.full((), 0, tl.int32)
    while done < n:
        at = done + tl.arange(0, CHUNK)
        best = tl.maximum(best, tl.max(tl.load(keys + at, mask=at < n, other=NO_KEY)))
        done += CHUNK
    return best


@triton.jit
def pick_kernel(
    keys,  # (rows, n_groups) int64
    word_ids,  # (n_columns,) int32
    logits,  # (rows, n_columns) float32
    masks,  # (rows, n_words) int32; not read unless MASKED
    shape,
    thresholds,  # (rows,) int64
    log_z,  # (rows,) float32
    entries,  # (rows, n_tiles) int64
    entry_counts,  # (rows,) int32
    slots,  # (rows, max_slots) int32: scratch, the surviving groups
    tile_count,  # (1,) int32, zero before: surviving tiles of all rows
    tile_rows,  # (rows * max_slots,) int32
    tile_ids,  # (rows * max_slots,) int32: the best word of each
    floors,  # (rows,) float32: log-probabilities below are not among the k best
    candidates,  # (rows, max_candidates) int64
    candidate_counts,  # (rows,) int32
    n_groups,
    n_columns,
    n_tiles,
    max_slots,
    max_candidates,
    n_words,
    GROUPS: tl.constexpr,
    GROUP: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_S: tl.constexpr,
    SLACK: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Grid (rows,). SLACK: nats by which a word scored again may differ from its tile's best key."""
    row = tl.program_id(0).to(tl.int64)
    if row < asked_rows(shape):
        k = asked_k(shape)
        n_entries = tl.load(entry_counts + row)
        mine = entries + row * n_tiles
        group = tl.arange(0, GROUPS)
        key = tl.load(keys + row * n_groups + group, mask=group < n_groups, other=NO_KEY)

        # The threshold of select_kernel, raised by what the tails hold.
        low = tl.load(thresholds + row)
        found = key > NO_KEY
        count = tl.sum((found & (key >= low)).to(tl.int32)) + n_entries
        high = tl.maximum(tl.max(key), largest(mine, n_entries, CHUNK)) + 1
        step = tl.full((), 0, tl.int32)
        most = tl.where(n_entries > 0, k + (k >> 3), count)
        middle = between(low, high, step)
        while (count > most) & (middle > low):
            n = tl.sum((key >= middle).to(tl.int32)) + count_at_least(mine, n_entries, middle, CHUNK)
            low = tl.where(n >= k, middle, low)
            count = tl.where(n >= k, n, count)
            high = tl.where(n >= k, high, middle)
            step += 1
            middle = between(low, high, step)

        # Surviving tiles, for the next kernel.
        done = tl.full((), 0, tl.int32)
        while done < n_entries:
            at = done + tl.arange(0, CHUNK)
            entry = tl.load(mine + at, mask=at < n_entries, other=NO_KEY)
            kept = (entry >= low) & (entry > NO_KEY)
            n_kept = tl.sum(kept.to(tl.int32))
            if n_kept > 0:
                place = tl.atomic_add(tile_count, n_kept) + tl.cumsum(kept.to(tl.int32), 0) - 1
                tl.store(tile_rows + place, (row + at * 0).to(tl.int32), mask=kept)
                tl.store(tile_ids + place, key_id(entry), mask=kept)
            done += CHUNK

        # Surviving groups, and their words.
        my_slots = slots + row * max_slots
        survives = found & (key >= low)
        tl.store(my_slots + tl.cumsum(survives.to(tl.int32), 0) - 1, group, mask=survives)
        n_slots = tl.sum(survives.to(tl.int32))
        tl.debug_barrier()
        z_head = tl.load(log_z + row)
        least = tl.where(low == NO_KEY, float("-inf"), key_value(low) - z_head)
        my_candidates = candidates + row * max_candidates
        n_candidates = tl.full((), 0, tl.int32)
        slot = tl.full((), 0, tl.int32)
        while slot < n_slots:
            s = slot + tl.arange(0, BLOCK_S)
            g = tl.load(my_slots + s, mask=s < n_slots, other=0)
            position = g[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
            word_id = tl.load(word_ids + position, mask=(s < n_slots)[:, None], other=-1)
            logprob = tl.load(logits + row * n_columns + position) - z_head
            good = (word_id >= 0) & (logprob >= least) & (logprob > float("-inf"))
            word_id = tl.maximum(word_id, 0)
            if MASKED:
                good &= is_allowed(masks, row, n_words, word_id)
            flat = tl.reshape(good.to(tl.int32), (BLOCK_S * GROUP,))
            to = tl.reshape(n_candidates + tl.cumsum(flat, 0) - 1, (BLOCK_S, GROUP))
            tl.store(my_candidates + to, make_key(logprob, word_id), mask=good)
            n_candidates += tl.sum(flat)
            slot += BLOCK_S
        tl.store(candidate_counts + row, n_candidates)
        tl.store(floors + row, least - SLACK)


@triton.jit
def rescore_kernel(
    logits,
    weights,  # flat: the clusters' (words, width) one after another
    bias,
    excluded,
    clusters,  # (5, n_clusters) int64, see `PackedWeights`
    first_ids,  # (n_clusters,) int32: each cluster's first word
    masks,
    cluster_lses,  # (rows, n_clusters) float32
    log_z,
    tile_count,
    tile_rows,
    tile_ids,
    floors,
    candidates,
    candidate_counts,
    n_columns,
    n_clusters,
    cluster_column,
    max_candidates,
    n_words,
    CLUSTERS: tl.constexpr,
    MAX_WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Grid: any number of programs."""
    n_items = tl.load(tile_count)
    cluster = tl.arange(0, CLUSTERS)
    first_id = tl.load(first_ids + cluster, mask=cluster < n_clusters, other=MAX_ID)
    item = tl.program_id(0)
    while item < n_items:
        row = tl.load(tile_rows + item).to(tl.int64)
        best = tl.load(tile_ids + item)
        c = tl.sum((first_id <= best).to(tl.int32)) - 1
        low_id = tl.load(first_ids + c)
        word = (best - low_id) // TILE * TILE + tl.arange(0, TILE)
        first = tl.load(clusters + c)
        size = tl.load(clusters + n_clusters + c).to(tl.int32)
        offset = tl.multiple_of(tl.load(clusters + 2 * n_clusters + c), 16)
        width = tl.multiple_of(tl.load(clusters + 3 * n_clusters + c).to(tl.int32), 16)
        column = tl.multiple_of(tl.load(clusters + 4 * n_clusters + c), 16)
        z = tl.zeros((TILE,), tl.float32)
        for block in range(
            0, (MAX_WIDTH + BLOCK_K - 1) // BLOCK_K if INTERPRETED else tl.cdiv(width, BLOCK_K)
        ):
            kk = block * BLOCK_K + tl.arange(0, BLOCK_K)
            at = weights + offset + word[:, None].to(tl.int64) * width + kk[None, :]
            w = tl.load(at, mask=(kk < width)[None, :], other=0.0)
            p = tl.load(logits + row * n_columns + column + kk, mask=kk < width, other=0.0)
            z += tl.sum(w.to(tl.float32) * two_terms(p, w.dtype)[None, :], 1)
        inside = word < size
        z += tl.load(bias + first + word, mask=inside, other=0.0)
        of_cluster = tl.load(logits + row * n_columns + cluster_column + c) - tl.load(log_z + row)
        logprob = of_cluster + tl.minimum(z - tl.load(cluster_lses + row * n_clusters + c), 0.0)
        free = inside & (tl.load(excluded + first + word, mask=inside, other=1) == 0)
        if MASKED:
            free &= is_allowed(masks, row, n_words, low_id + tl.minimum(word, size - 1))
        kept = free & (logprob >= tl.load(floors + row)) & (logprob > float("-inf"))
        n = tl.sum(kept.to(tl.int32))
        place = tl.atomic_add(candidate_counts + row, n) + tl.cumsum(kept.to(tl.int32), 0) - 1
        key = make_key(logprob, low_id + word)
        tl.store(candidates + row * max_candidates + place, key, mask=kept)
        item += tl.num_programs(0)


@triton.jit
def rank_kernel(
    shape,
    candidates,
    candidate_counts,
    ids_out,  # (rows, max_k) int64
    logprobs_out,  # (rows, max_k) float32
    max_candidates,
    max_k,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """Grid (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    if row < asked_rows(shape):
        k = asked_k(shape)
        n = tl.load(candidate_counts + row)
        mine = candidates + row * max_candidates
        out = row * max_k
        i0 = tl.full((), 0, tl.int32)
        while i0 < n:
            i = i0 + tl.arange(0, BLOCK_I)
            own = tl.load(mine + i, mask=i < n, other=NO_KEY)
            rank = tl.zeros((BLOCK_I,), tl.int32)
            j0 = tl.full((), 0, tl.int32)
            while j0 < n:
                j = j0 + tl.arange(0, BLOCK_J)
                others = tl.load(mine + j, mask=j < n, other=NO_KEY)
                rank += tl.sum((others[None, :] > own[:, None]).to(tl.int32), 1)
                j0 += BLOCK_J
            answered = (i < n) & (rank < k)
            tl.store(ids_out + out + rank, key_id(own).to(tl.int64), mask=answered)
            tl.store(logprobs_out + out + rank, key_value(own), mask=answered)
            i0 += BLOCK_I
        i0 = n
        while i0 < k:
            i = i0 + tl.arange(0, BLOCK_I)
            tl.store(ids_out + out + i, tl.full((BLOCK_I,), -1, tl.int64), mask=i < k)
            tl.store(logprobs_out + out + i, tl.full((BLOCK_I,), float("-inf"), tl.float32), mask=i < k)
            i0 += BLOCK_I
