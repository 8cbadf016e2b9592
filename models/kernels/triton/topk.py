# mypy: disable-error-code="import-not-found"
"""The top-k on the GPU: four steps, seven small kernels, one CUDA graph a bucket of rows, no waiting.

    hidden rows -> head (head.py) -> select (select.py) -> tail, gather (tail.py)
                -> pick, rescore, rank (finish.py) -> ids, log-probabilities

The number of rows and k stand in one number on the device, so one graph serves all batches of a bucket.
Nothing is read back: which clusters open is decided and acted on by the device alone.

Roofline: the head's weights (2 C d bytes) and the opened clusters' (2 words width bytes), each read once for
up to 64 rows; beyond that the head's product, 2 B C d FLOPs, by cuBLAS, and its float32 logits written and
read once, 8 B C bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.kernels.triton.buffers import K_CAPS, Shared, Tuning, Workspace, count_bytes, power, stages
from models.kernels.triton.finish import pick_kernel, rank_kernel, rescore_kernel
from models.kernels.triton.head import head_kernel, stats_kernel
from models.kernels.triton.masks import write_masks
from models.kernels.triton.select import select_kernel
from models.kernels.triton.tail import gather_kernel, tail_kernel
from models.kernels.triton.weights import TILE, PackedWeights
from models.softmax.topk import TopK

# Nats. What float32 accumulation in another order may change in a logit is far less.
SLACK = 0.01

Allowed = Sequence[Tensor | None]


@dataclass(frozen=True, slots=True)
class GraphBucket:
    """What a graph is made for: up to `rows` rows of `dtype`, a k of up to `cap`, with `allowed` or not."""

    rows: int
    cap: int
    dtype: torch.dtype
    masked: bool


class TritonTopK:
    """Searches the k best words of each row; see `AdaptiveSoftmax.topk`. For one thread at a time.

    Args:
        weights: the packed weights.
        max_rows: rows of one search, to 1024; larger batches are cut.
        graphs: whether to capture CUDA graphs; by default where there is a GPU.
        tuning: block sizes and thresholds.

    Attributes:
        captured: the graphs so far.
    """

    def __init__(
        self,
        weights: PackedWeights,
        max_rows: int = 1024,
        graphs: bool | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.weights, self.tuning = weights, tuning or Tuning()
        self.max_rows = min(power(max_rows), max(K_CAPS.values()))
        self.graphs = weights.device.type == "cuda" if graphs is None else graphs
        self._shared = Shared(weights, self.max_rows, self.tuning)
        self._workspaces: dict[int, Workspace] = {}
        self.captured: dict[GraphBucket, torch.cuda.CUDAGraph] = {}
        self._programs = 3
        if weights.device.type == "cuda":
            processors = torch.cuda.get_device_properties(weights.device).multi_processor_count
            self._programs = processors * self.tuning.tail_programs

    @property
    def nbytes(self) -> int:
        """Device memory of the buffers, without the weights."""
        return count_bytes(self._shared, *self._workspaces.values())

    def topk(self, hidden: Tensor, k: int, allowed: Allowed | None = None) -> TopK:
        """The k best words of each row of `hidden` (B, d), of the weights' type or float32; k to 1024.

        Waits for nothing: on a GPU the result's tensors are filled in the stream's order.
        """
        space = self._space(k)
        parts = []
        for start in range(0, max(1, len(hidden)), space.rows):
            rows = slice(start, start + space.rows)
            parts.append(self._search(hidden[rows], k, space, None if allowed is None else allowed[rows]))
        if len(parts) == 1:
            return parts[0]
        return TopK(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _space(self, k: int) -> Workspace:
        cap = next(cap for cap in K_CAPS if k <= cap)
        if cap not in self._workspaces:
            self._workspaces[cap] = Workspace(self.weights, cap, min(self.max_rows, K_CAPS[cap]))
        return self._workspaces[cap]

    def _search(self, hidden: Tensor, k: int, space: Workspace, allowed: Allowed | None) -> TopK:
        n, shared = len(hidden), self._shared
        if n:
            dtype = hidden.dtype if hidden.dtype == self.weights.dtype else torch.float32
            bucket = GraphBucket(power(n), space.cap, dtype, allowed is not None)
            if allowed is not None:
                write_masks(allowed, self.weights, shared)
            # The graph's kernels are compiled before anything asks them for rows.
            graph = self._graph(bucket, space) if self.graphs else None
            shared.hidden[dtype][:n, : hidden.shape[1]].copy_(hidden)
            shared.shape.fill_(n | k << 16)
            if graph is not None:
                graph.replay()
            else:
                self.launch(bucket, space)
        opened = space.expanded[:n, : self.weights.n_clusters].bool()
        return TopK(space.ids[:n, :k].clone(), space.logprobs[:n, :k].clone(), opened)

    def _graph(self, bucket: GraphBucket, space: Workspace) -> torch.cuda.CUDAGraph:
        if bucket not in self.captured:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):  # compiles, and lets cuBLAS set itself up
                    self.launch(bucket, space)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.launch(bucket, space)
            self.captured[bucket] = graph
        return self.captured[bucket]

    # -- the kernels, in order --------------------------------------------------------------------------

    def launch(self, bucket: GraphBucket, space: Workspace) -> None:
        """All kernels for as many of `bucket`'s rows as `shape` says, into `space`."""
        parts = self._head(bucket, space)
        self._select(bucket, parts, space)
        if self.weights.n_clusters:
            self._tail(bucket, space)
        self._finish(bucket, space)

    def _head(self, bucket: GraphBucket, space: Workspace) -> int:
        w, shared, tuning = self.weights, self._shared, self.tuning
        common = {"n_columns": w.columns, "n_groups": space.n_groups, "n_clusters": w.n_clusters,
                  "n_words": shared.n_words, "CLUSTERS": power(w.n_clusters), "GROUP": space.group,
                  "MASKED": bucket.masked}  # fmt: skip
        rows = shared.hidden[bucket.dtype]
        if bucket.rows <= tuning.blas_rows:
            block_b = min(max(16, bucket.rows), 64)
            tiles = w.lse_columns // tuning.head_block_v
            block_k = tuning.head_block_k if w.depth % tuning.head_block_k == 0 else 64
            head_kernel[(w.columns // tuning.head_block_v, -(-bucket.rows // block_b))](
                rows, w.head, w.bias, w.word_ids, shared.masks, shared.shape, shared.logits, space.keys,
                shared.lses, space.counts, n_tiles=tiles, D=w.depth, BLOCK_V=tuning.head_block_v,
                BLOCK_B=block_b, BLOCK_K=block_k, num_warps=tuning.head_warps,
                num_stages=stages(tuning.head_stages, tuning.head_block_v, block_b, block_k, w.head, rows),
                **common,
            )  # fmt: skip
            return tiles
        terms = 1 if bucket.dtype == w.dtype else 2
        multiply(rows[: bucket.rows], w.head, shared.logits[: terms * bucket.rows])
        block = min(tuning.stats_block, power(w.lse_columns))
        parts = -(-w.lse_columns // block)
        stats_kernel[(bucket.rows, -(-w.columns // block))](
            w.bias, w.word_ids, shared.masks, shared.shape, shared.logits, space.keys, shared.lses,
            space.counts, n_parts=parts, n_lse_columns=w.lse_columns, rows=bucket.rows, TERMS=terms,
            BIASED=w.biased, BLOCK=block, num_warps=4, **common,
        )  # fmt: skip
        return parts

    def _select(self, bucket: GraphBucket, parts: int, space: Workspace) -> None:
        w, shared = self.weights, self._shared
        usable = shared.usable[:, 1:] if bucket.masked else w.usable
        select_kernel[(bucket.rows,)](
            space.keys, shared.lses, shared.logits, usable, shared.shape, space.thresholds, space.log_z,
            space.expanded, space.counts, space.lists, space.entry_counts, space.tile_count,
            n_groups=space.n_groups, n_parts=parts, n_columns=w.columns, n_clusters=w.n_clusters,
            cluster_column=w.cluster_column,
            max_rows=space.rows, usable_stride=1 + w.n_clusters if bucket.masked else 0,
            GROUPS=power(space.n_groups), PARTS=power(parts), CLUSTERS=power(w.n_clusters),
            num_warps=self._row_warps(space),
        )  # fmt: skip

    def _tail(self, bucket: GraphBucket, space: Workspace) -> None:
        w, shared, tuning = self.weights, self._shared, self.tuning
        block_b = 16 if bucket.rows <= 16 else 32 if bucket.rows <= 128 else 64
        block_k = min(tuning.tail_block_k, power(w.max_width))
        common = {"n_columns": w.columns, "n_clusters": w.n_clusters, "n_tiles": w.n_tiles,
                  "max_rows": space.rows, "CLUSTERS": power(w.n_clusters), "TILE": TILE}  # fmt: skip
        tail_kernel[(self._programs,)](
            shared.logits, w.tails, w.tail_bias, w.excluded, shared.masks, w.clusters, w.first_tiles,
            space.counts, space.lists, shared.tile_keys, shared.tile_lses, shortlist=w.shortlist,
            n_words=shared.n_words, MAX_WIDTH=w.max_width, BLOCK_B=block_b,
            BLOCK_K=block_k, MASKED=bucket.masked, num_warps=tuning.tail_warps,
            num_stages=stages(tuning.tail_stages, TILE, block_b, block_k, w.tails, shared.logits), **common,
        )  # fmt: skip
        chunk = min(2048, power(w.most_tiles))
        gather_kernel[(self._programs,)](
            shared.logits, w.clusters, w.first_tiles, space.counts, space.lists, shared.tile_keys,
            shared.tile_lses, space.thresholds, space.cluster_lses, shared.entries, space.entry_counts,
            cluster_column=w.cluster_column, CHUNK=chunk, num_warps=max(1, min(8, chunk // 128)), **common,
        )  # fmt: skip

    def _finish(self, bucket: GraphBucket, space: Workspace) -> None:
        w, shared, warps = self.weights, self._shared, self._row_warps(space)
        common = {"max_candidates": space.max_candidates, "n_words": shared.n_words, "MASKED": bucket.masked}
        pick_kernel[(bucket.rows,)](
            space.keys, w.word_ids, shared.logits, shared.masks, shared.shape, space.thresholds, space.log_z,
            shared.entries, space.entry_counts, space.slots, space.tile_count, space.tile_rows,
            space.tile_ids, space.floors, space.candidates, space.candidate_counts, n_groups=space.n_groups,
            n_columns=w.columns, n_tiles=w.n_tiles, max_slots=space.max_slots, GROUPS=power(space.n_groups),
            GROUP=space.group, CHUNK=128, BLOCK_S=1024 // space.group, SLACK=SLACK, num_warps=warps, **common,
        )  # fmt: skip
        if w.n_clusters:
            rescore_kernel[(self._programs,)](
                shared.logits, w.tails, w.tail_bias, w.excluded, w.clusters, w.first_ids, shared.masks,
                space.cluster_lses, space.log_z, space.tile_count, space.tile_rows, space.tile_ids,
                space.floors, space.candidates, space.candidate_counts, n_columns=w.columns,
                n_clusters=w.n_clusters, cluster_column=w.cluster_column, CLUSTERS=power(w.n_clusters),
                MAX_WIDTH=w.max_width, TILE=TILE, BLOCK_K=min(64, power(w.max_width)), num_warps=4, **common,
            )  # fmt: skip
        rank_kernel[(bucket.rows,)](
            shared.shape, space.candidates, space.candidate_counts, space.ids, space.logprobs,
            max_candidates=space.max_candidates, max_k=space.cap, BLOCK_I=32 * warps, BLOCK_J=32,
            num_warps=warps,
        )  # fmt: skip

    def _row_warps(self, space: Workspace) -> int:
        return max(self.tuning.row_warps, min(16, power(space.n_groups) // 512))


def multiply(rows: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """`out` (R or 2 R, C) float32 = rows (R, D) @ weight (C, D).T, accumulated in float32.

    Float32 rows beside 16-bit weights are multiplied as two 16-bit terms, the second's product below.
    """
    if rows.dtype != weight.dtype:
        high = rows.to(weight.dtype)
        rows = torch.cat([high, (rows - high.float()).to(weight.dtype)])
    if rows.device.type == "cuda" and rows.dtype != torch.float32:
        return torch.mm(rows, weight.T, out_dtype=torch.float32, out=out)
    return torch.mm(rows.float(), weight.float().T, out=out)
