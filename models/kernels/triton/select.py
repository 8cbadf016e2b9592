# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: N803
"""Step 2 of the top-k: which clusters can still compete, and for which rows.

A program a row. The k-th largest of the groups' best keys is at most the k-th best word's, so no cluster
whose own logit lies below it can hold one of the k best words: its words' scores z_c + log p(w | c) are at
most z_c. The head's words lie in the packed weights in an order that puts neighbors in frequency into
different groups, which makes the bound tight: about k + k^2 / (2 groups) words lie above it.

    reads   8 B groups bytes of keys, 4 B tiles of log-sum-exps, 4 B clusters of logits
    writes  per row the threshold and log Z of the head, the opened clusters; per cluster the list of its rows
    roofline: latency: some 10 to 20 rounds of compare-and-count over the groups, about 2 to 4 us
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.kernels.triton.common import NO_KEY, asked_k, asked_rows, key_value, kth_largest, log_sum_exp


@triton.jit
def select_kernel(
    keys,  # (rows, n_groups) int64
    lses,  # (rows, n_parts) float32
    logits,  # (rows, n_columns) float32
    usable,  # (clusters,) or (rows, clusters) int8: whether any of its words may be answered
    shape,  # (1,) int32: rows and k, see `asked_rows`
    thresholds,  # (rows,) int64
    log_z,  # (rows,) float32
    expanded,  # (rows, clusters) int8
    counts,  # (clusters,) int32, zero before
    lists,  # (clusters, max_rows) int32
    entry_counts,  # (rows,) int32: set to zero for a later kernel
    tile_count,  # (1,) int32: set to zero for a later kernel
    n_groups,
    n_parts,
    n_columns,
    n_clusters,
    cluster_column,
    max_rows,
    usable_stride,  # 0 where `usable` is the same for all rows
    GROUPS: tl.constexpr,
    PARTS: tl.constexpr,
    CLUSTERS: tl.constexpr,
):
    """Grid (rows,)."""
    row = tl.program_id(0)
    if row == 0:
        tl.store(tile_count, 0)
    if row < asked_rows(shape):
        group = tl.arange(0, GROUPS)
        key = tl.load(keys + row * n_groups + group, mask=group < n_groups, other=NO_KEY)
        k = asked_k(shape)
        threshold = kth_largest(key, k, k >> 3)
        part = tl.arange(0, PARTS)
        lse = tl.load(lses + row * n_parts + part, mask=part < n_parts, other=float("-inf"))
        tl.store(thresholds + row, threshold)
        tl.store(log_z + row, log_sum_exp(lse))
        tl.store(entry_counts + row, 0)
        cluster = tl.arange(0, CLUSTERS)
        inside = cluster < n_clusters
        at = logits + row.to(tl.int64) * n_columns + cluster_column + cluster
        z = tl.load(at, mask=inside, other=float("-inf"))
        least = tl.where(threshold == NO_KEY, float("-inf"), key_value(threshold))
        usable_here = tl.load(usable + row * usable_stride + cluster, mask=inside, other=0) != 0
        opened = inside & (z >= least) & usable_here
        tl.store(expanded + row * n_clusters + cluster, opened.to(tl.int8), mask=inside)
        place = tl.atomic_add(counts + cluster, tl.full((CLUSTERS,), 1, tl.int32), mask=opened)
        tl.store(lists + cluster * max_rows + place, row + tl.zeros_like(cluster), mask=opened)
