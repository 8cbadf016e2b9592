# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Step 4 of the top-k: the few surviving tiles, word by word, and the exact order.

A program a row. The k-th largest among the head groups' and the competing tail tiles' best keys bounds the
k-th best word from below, so the k best words lie in the about k groups and tiles at or above it. Words of
the head have their logits in memory, those of tails are scored again. What is left, mostly little more than
k words, is ranked by counting, by the log-probability that is answered and then by id.

    reads   the groups' keys, the competing tiles' keys, GROUP logits a surviving group, TILE rows of weights
            a surviving tile (32 KB at width 256)
    writes  ids and log-probabilities (rows, k)
    roofline: latency; about as long as `select_kernel`, and 1 to 2 us more a surviving tail tile
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton_common import (
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
def finish_kernel(
    keys,  # (rows, n_groups) int64
    word_ids,  # (n_columns,) int32
    logits,  # (rows, n_columns) float32
    weights,
    bias,
    excluded,
    clusters,
    masks,  # (rows, n_words) int32; not read unless MASKED
    first_ids,  # (n_clusters,) int32: each cluster's first word
    cluster_lses,
    shape,
    thresholds,
    log_z,
    entries,
    entry_counts,
    slots,  # (rows, max_slots) int32
    candidates,  # (rows, max_candidates) int64
    ids_out,  # (rows, max_k) int64
    logprobs_out,  # (rows, max_k) float32
    n_groups,
    n_columns,
    n_clusters,
    n_tiles,
    cluster_column,
    max_slots,
    max_candidates,
    max_k,
    n_words,
    CLUSTERS: tl.constexpr,
    MAX_WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_K: tl.constexpr,
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

        # Slots: surviving groups by number, then surviving tiles by -1 - id of their best word.
        my_slots = slots + row * max_slots
        survives = found & (key >= low)
        tl.store(my_slots + tl.cumsum(survives.to(tl.int32), 0) - 1, group, mask=survives)
        n_head = tl.sum(survives.to(tl.int32))
        n_slots = n_head
        done = tl.full((), 0, tl.int32)
        while done < n_entries:
            at = done + tl.arange(0, CHUNK)
            entry = tl.load(mine + at, mask=at < n_entries, other=NO_KEY)
            kept = (entry >= low) & (entry > NO_KEY)
            place = n_slots + tl.cumsum(kept.to(tl.int32), 0) - 1
            tl.store(my_slots + place, -1 - key_id(entry), mask=kept)
            n_slots += tl.sum(kept.to(tl.int32))
            done += CHUNK
        tl.debug_barrier()

        # Candidates: the words of the slots.
        z_head = tl.load(log_z + row)
        least = tl.where(low == NO_KEY, float("-inf"), key_value(low) - z_head)
        floor = least - SLACK
        my_candidates = candidates + row * max_candidates
        n_candidates = tl.full((), 0, tl.int32)
        slot = tl.full((), 0, tl.int32)
        while slot < n_head:
            s = slot + tl.arange(0, BLOCK_S)
            g = tl.load(my_slots + s, mask=s < n_head, other=0)
            position = g[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
            head_id = tl.load(word_ids + position, mask=(s < n_head)[:, None], other=-1)
            of_head = tl.load(logits + row * n_columns + position) - z_head
            good = (head_id >= 0) & (of_head >= least) & (of_head > float("-inf"))
            if MASKED:
                good &= is_allowed(masks, row, n_words, tl.maximum(head_id, 0))
            flat = tl.reshape(good.to(tl.int32), (BLOCK_S * GROUP,))
            to = tl.reshape(n_candidates + tl.cumsum(flat, 0) - 1, (BLOCK_S, GROUP))
            tl.store(my_candidates + to, make_key(of_head, tl.maximum(head_id, 0)), mask=good)
            n_candidates += tl.sum(flat)
            slot += BLOCK_S
        slot = n_head
        cluster = tl.arange(0, CLUSTERS)
        first_id = tl.load(first_ids + cluster, mask=cluster < n_clusters, other=MAX_ID)
        while slot < n_slots:
            word_id = -1 - tl.load(my_slots + slot)
            c = tl.sum((first_id <= word_id).to(tl.int32)) - 1
            low_id = tl.load(first_ids + c)
            word = (word_id - low_id) // TILE * TILE + tl.arange(0, TILE)
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
            z_cluster = tl.load(logits + row * n_columns + cluster_column + c) - z_head
            within = tl.minimum(z - tl.load(cluster_lses + row * n_clusters + c), 0.0)
            logprob = z_cluster + within
            free = tl.load(excluded + first + word, mask=inside, other=1) == 0
            if MASKED:
                free &= is_allowed(masks, row, n_words, low_id + tl.minimum(word, size - 1))
            kept = inside & free & (logprob >= floor) & (logprob > float("-inf"))
            place = n_candidates + tl.cumsum(kept.to(tl.int32), 0) - 1
            tl.store(my_candidates + place, make_key(logprob, low_id + word), mask=kept)
            n_candidates += tl.sum(kept.to(tl.int32))
            slot += 1
        tl.debug_barrier()

        # Rank by counting.
        out = row * max_k
        i0 = tl.full((), 0, tl.int32)
        while i0 < n_candidates:
            i = i0 + tl.arange(0, BLOCK_I)
            own = tl.load(my_candidates + i, mask=i < n_candidates, other=NO_KEY)
            rank = tl.zeros((BLOCK_I,), tl.int32)
            j0 = tl.full((), 0, tl.int32)
            while j0 < n_candidates:
                j = j0 + tl.arange(0, BLOCK_J)
                others = tl.load(my_candidates + j, mask=j < n_candidates, other=NO_KEY)
                rank += tl.sum((others[None, :] > own[:, None]).to(tl.int32), 1)
                j0 += BLOCK_J
            answered = (i < n_candidates) & (rank < k)
            tl.store(ids_out + out + rank, key_id(own).to(tl.int64), mask=answered)
            tl.store(logprobs_out + out + rank, key_value(own), mask=answered)
            i0 += BLOCK_I
        i0 = n_candidates
        while i0 < k:
            i = i0 + tl.arange(0, BLOCK_I)
            tl.store(ids_out + out + i, tl.full((BLOCK_I,), -1, tl.int64), mask=i < k)
            tl.store(logprobs_out + out + i, tl.full((BLOCK_I,), float("-inf"), tl.float32), mask=i < k)
            i0 += BLOCK_I
