"""The Transformer-XL body (Dai et al., "Transformer-XL", ACL 2019): relative positions, segment memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bodies.base import FLOAT_BYTES, RowState, TensorState
from models.bodies.segment_memory import QueryChunk, SegmentMemory
from models.config.bodies import TransformerXLConfig

# Distances by which the table of relative positions grows.
_BLOCK = 256


class RelativeAttention(nn.Module):
    """Multi-head attention with relative positions, section 3.3 of the paper.

    The score of query i and key j is ``(q_i + u) . k_j + (q_i + v) . W_r r_{i-j}``, over sqrt(head_size),
    where r_d is the sinusoid of distance d. `content_bias` u and `position_bias` v (heads, head_size) are the
    layer's own or those of the whole body.
    """

    def __init__(self, config: TransformerXLConfig, hidden_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = config.heads, config.head_size
        width = config.heads * config.head_size
        self.qkv = nn.Linear(hidden_size, 3 * width, bias=False)
        self.positions = nn.Linear(hidden_size, width, bias=False)
        self.out = nn.Linear(width, hidden_size, bias=False)
        if not config.shared_biases:
            self.content_bias = nn.Parameter(torch.empty(config.heads, config.head_size))
            self.position_bias = nn.Parameter(torch.empty(config.heads, config.head_size))
        self._table: tuple[Tensor, Tensor] | None = None  # the weights and the table made with them

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, head_size) of `rows` (B, T, d)."""
        batch, steps, _ = rows.shape
        q, k, v = self.qkv(rows).view(batch, steps, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        return q, k, v

    def table(self, distances: int, clamp: int | None) -> Tensor:
        """(heads, distances, head_size): W_r r_d of the distances ``distances - 1, ..., 1, 0``.

        Kept for frozen weights, as served ones are.
        """
        weight = self.positions.weight
        if weight.requires_grad:
            return self._make_table(distances, clamp)
        if self._table is None or self._table[0] is not weight or self._table[1].shape[1] < distances:
            blocks = -(-distances // _BLOCK) * _BLOCK
            self._table = weight, self._make_table(blocks, clamp)
        table = self._table[1]
        return table[:, table.shape[1] - distances :]

    def _make_table(self, distances: int, clamp: int | None) -> Tensor:
        weight = self.positions.weight
        d = weight.shape[1]
        distance = torch.arange(distances - 1, -1, -1.0, device=weight.device)
        if clamp is not None:
            distance = distance.clamp(max=clamp)
        frequencies = 1 / (10000 ** (torch.arange(0.0, d, 2.0, device=weight.device) / d))
        angles = torch.outer(distance, frequencies)
        rows: Tensor = self.positions(torch.cat([angles.sin(), angles.cos()], dim=-1).to(weight))
        return rows.view(distances, self.heads, self.head_size).transpose(0, 1).contiguous()

    def attend(
        self,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        biases: tuple[Tensor, Tensor],
        table: Tensor,
        chunk: QueryChunk,
    ) -> Tensor:
        """(B, heads, n, head_size): the attention of the chunk's queries to their columns.

        Where a query sees zero memory, `keys` and `values` begin with the one key and value that all zeros
        have. They differ by their distances alone, so that they count as one key, whose position score is
        the log-sum-exp of theirs.
        """
        content, position = biases
        scale = self.head_size**-0.5
        batch, _, n, _ = q.shape
        # By distance (B, H, n, D). A product a head, not a row of the batch: the table is the same for all.
        asked = (q + position[:, None]).transpose(0, 1).reshape(self.heads, batch * n, self.head_size)
        scores = (asked @ table.transpose(1, 2) * scale).view(self.heads, batch, n, -1).transpose(0, 1)
        wide = chunk.columns.stop - chunk.columns.start
        by_column = F.pad(scores[..., chunk.distances - wide :], (1, 0))
        by_column = by_column.reshape(batch, self.heads, wide + 1, n)[:, :, 1:].reshape(
            batch, self.heads, n, wide
        )
        bias = by_column.masked_fill(chunk.unseen, -torch.inf)
        if chunk.not_zero is not None:
            zeros = scores.masked_fill(chunk.not_zero, -torch.inf).logsumexp(-1, keepdim=True)
            bias = torch.cat([zeros, bias], dim=-1)
        return F.scaled_dot_product_attention(q + content[:, None], keys, values, attn_mask=bias, scale=scale)


class TransformerXLLayer(nn.Module):
    """Relative attention and a feed-forward network, each with a residual, a layer norm before or after."""

    def __init__(self, config: TransformerXLConfig, hidden_size: int) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.clamp = config.clamp
        self.attention = RelativeAttention(config, hidden_size)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=config.norm_epsilon)
        self.inner = nn.Linear(hidden_size, config.inner)
        self.outer = nn.Linear(config.inner, hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=config.norm_epsilon)

    def forward(
        self, rows: Tensor, memory: Tensor, shared: tuple[Tensor, Tensor] | None, chunks: Sequence[QueryChunk]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New rows (B, T, d), and keys and values (B, heads, S + T, head_size) of memory and new words.

        `memory` (B, 2, heads, S, head_size): keys and values held so far; `shared`: the body's biases, where
        the layers have none of their own.
        """
        biases = shared or (self.attention.content_bias, self.attention.position_bias)
        q, k, v = self.attention.project(self.attention_norm(rows) if self.pre_norm else rows)
        keys, values = torch.cat([memory[:, 0], k], dim=2), torch.cat([memory[:, 1], v], dim=2)
        table = self.attention.table(max(chunk.distances for chunk in chunks), self.clamp)
        zero = self._zero(len(rows)) if any(chunk.not_zero is not None for chunk in chunks) else None
        parts = []
        for chunk in chunks:
            seen = [part[:, :, chunk.columns] for part in (keys, values)]
            if chunk.not_zero is not None and zero is not None:
                seen = [torch.cat([z, part], dim=2) for z, part in zip(zero, seen, strict=True)]
            parts.append(
                self.attention.attend(
                    q[:, :, chunk.queries],
                    seen[0],
                    seen[1],
                    biases,
                    table[:, table.shape[1] - chunk.distances :],
                    chunk,
                )
            )
        taken = torch.cat(parts, dim=2).transpose(1, 2).flatten(2)
        rows = rows + self.attention.out(taken)
        if not self.pre_norm:
            rows = self.attention_norm(rows)
        inner = self.inner(self.feed_forward_norm(rows) if self.pre_norm else rows)
        rows = rows + self.outer(inner.relu_())
        return (rows if self.pre_norm else self.feed_forward_norm(rows)), keys, values

    def _zero(self, batch: int) -> tuple[Tensor, Tensor]:
        """Key and value (B, heads, 1, head_size) of a memory row of zeros."""
        row = self.outer.bias.new_zeros(1, 1, self.outer.out_features)
        _, key, value = self.attention.project(self.attention_norm(row) if self.pre_norm else row)
        return key.expand(batch, -1, -1, -1), value.expand(batch, -1, -1, -1)


class TransformerXLBody(nn.Module):
    """Maps word vectors (B, T, d) to hidden rows (B, T, d), continuing from a state.

    The state is the keys and values that later positions can attend, (B, layers, 2, heads, S, head_size)
    aligned to the right, and how many words each row has seen, (B,) int64 on the CPU. A row's own state is
    the same without the batch dimension and without padding. `SegmentMemory` says which positions a position
    attends; a text run in pieces of any lengths has the hidden rows of one run in one piece.
    """

    window: int | None = None

    def __init__(self, config: TransformerXLConfig, hidden_size: int) -> None:
        super().__init__()
        if hidden_size % 2:
            raise ValueError(f"the hidden size ({hidden_size}) must be even: half sines, half cosines")
        self.reach = SegmentMemory.of(config)
        self.heads, self.head_size = config.heads, config.head_size
        self.layers = nn.ModuleList(TransformerXLLayer(config, hidden_size) for _ in range(config.layers))
        if config.shared_biases:
            self.content_bias = nn.Parameter(torch.empty(config.heads, config.head_size))
            self.position_bias = nn.Parameter(torch.empty(config.heads, config.head_size))
        self.shared_biases = config.shared_biases
        for name, weight in self.named_parameters():
            if name.endswith(("content_bias", "position_bias")):
                nn.init.normal_(weight, std=0.02)
            elif "norm" not in name:
                if weight.dim() == 1:
                    nn.init.zeros_(weight)
                else:
                    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def initial_state(self, batch_size: int) -> TensorState:
        """No keys, and no words seen."""
        weight = next(self.parameters())
        memory = weight.new_zeros(batch_size, len(self.layers), 2, self.heads, 0, self.head_size)
        return memory, torch.zeros(batch_size, dtype=torch.int64, device="cpu")

    def stack_states(self, rows: Sequence[RowState]) -> TensorState:
        """One batched state of the rows' own."""
        longest = max(memory.shape[3] for memory, _ in rows)
        memories = [F.pad(memory, (0, 0, longest - memory.shape[3], 0)) for memory, _ in rows]
        return torch.stack(memories), torch.stack([seen for _, seen in rows])

    def split_state(self, state: TensorState) -> list[RowState]:
        """The rows' own states, each with memory of its own."""
        memory, seen = state
        longest = memory.shape[4]
        return [
            (memory[i, :, :, :, longest - held :].clone(), seen[i].clone())
            for i, held in enumerate(self.reach.held(seen).tolist())
        ]

    def state_bytes(self, words: int) -> int:
        """Keys and values of as many words as later ones can attend, and the count."""
        held = int(self.reach.held(torch.arange(words + 1)).max())
        return FLOAT_BYTES * held * len(self.layers) * 2 * self.heads * self.head_size + torch.int64.itemsize

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: TensorState
    ) -> tuple[Tensor, TensorState]:
        """Hidden rows (B, T, d), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        memory, seen = state
        batch, steps, _ = vectors.shape
        if lengths is None:
            lengths = torch.full((batch,), steps)
        held = memory.shape[4]
        chunks = list(self.reach.chunks(seen, held, steps, self.heads, vectors.device))
        seen = seen + lengths
        kept = int(self.reach.held(seen).max())
        after = memory.new_empty(batch, len(self.layers), 2, self.heads, kept, self.head_size)
        # Columns before the text's first word are never seen: any values may stand there.
        ends = lengths[:, None] + held - kept + torch.arange(kept)
        columns = ends.clamp(min=0)[:, None, :, None].to(vectors.device)
        columns = columns.expand(-1, self.heads, -1, self.head_size)
        same = bool((lengths == lengths[0]).all())
        first = int(lengths[0]) + held - kept
        shared = (self.content_bias, self.position_bias) if self.shared_biases else None
        rows = vectors
        for i, layer in enumerate(self.layers):
            rows, keys, values = layer(rows, memory[:, i], shared, chunks)
            for j, part in enumerate((keys, values)):
                after[:, i, j] = part[:, :, first : first + kept] if same else part.gather(2, columns)
        if int(lengths.min()) < steps:
            inside = torch.arange(steps) < lengths[:, None]
            rows = rows * inside[:, :, None].to(rows)
        return rows, (after, seen)
