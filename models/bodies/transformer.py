"""The transformer body: causal self-attention over the words so far.

Vaswani et al., "Attention is all you need", 2017, as decoder without an encoder; with layer norms before each
part and adaptive inputs it is the language model of Baevski & Auli, ICLR 2019 (fairseq's ``transformer_lm``).

Texts longer than the window. A model attends `window` words, whose positions it knows from training. When a
text has filled them, its last `overlap` words are read again from the first position on, and it continues
behind them: each word is seen with at least `overlap` words before it and never with more than the window.
This is what ``fairseq-eval-lm --tokens-per-sample <window> --context-window <overlap>`` computes where
``window - overlap`` divides `window`; `overlap` 0 is its default, which forgets everything at each edge.

State. A row's state is its keys and values, in blocks (`models.bodies.past`) of (2 * layers, words, units).
With an overlap, a block's last plane holds the word vectors themselves, from which the overlap is read again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from models.bodies.base import FLOAT_BYTES, RowState
from models.bodies.past import Past, alike, count_words, extended
from models.config.bodies import TransformerConfig


class TransformerBody(nn.Module):
    """Maps word vectors (B, T, units) to hidden rows (B, T, hidden_size), continuing from a state.

    A batched state is a list of the rows' own: rows of different lengths are padded only inside a layer.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        self.window: int = config.window
        units = config.units
        learned = config.positions == "learned"
        self.positions = nn.Parameter(torch.empty(config.window, units)) if learned else None
        self.embedding_norm = nn.LayerNorm(units) if config.embedding_norm else None
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(units) if config.final_norm else None
        self.to_hidden = nn.Linear(units, hidden_size, bias=False) if units != hidden_size else None
        if self.positions is not None:
            nn.init.normal_(self.positions, std=units**-0.5)

    def initial_state(self, batch_size: int) -> list[RowState]:
        """Nothing read."""
        return [()] * batch_size

    def stack_states(self, rows: Sequence[RowState]) -> list[RowState]:
        """The rows as they are."""
        return list(rows)

    def split_state(self, state: list[RowState]) -> list[RowState]:
        """The rows as they are."""
        return list(state)

    def state_bytes(self, words: int) -> int:
        """Keys and values of each word, and with an overlap its vector."""
        planes = 2 * len(self.layers) + bool(self.config.overlap)
        return FLOAT_BYTES * min(words, self.window) * planes * self.config.units

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: list[RowState]
    ) -> tuple[Tensor, list[RowState]]:
        """Hidden rows (B, T, hidden_size), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        batch, steps, _ = vectors.shape
        counts = [steps] * batch if lengths is None else [int(count) for count in lengths]
        if all(count_words(row) + count <= self.window for row, count in zip(state, counts, strict=True)):
            return self._read(vectors, counts, state)
        state, done = list(state), [0] * batch
        pieces: list[list[Tensor]] = [[] for _ in range(batch)]
        while rows := [row for row in range(batch) if done[row] < counts[row]]:
            self._reopen(state, [row for row in rows if count_words(state[row]) == self.window])
            takes = [min(counts[row] - done[row], self.window - count_words(state[row])) for row in rows]
            some = [vectors[row, done[row] : done[row] + take] for row, take in zip(rows, takes, strict=True)]
            hidden, after = self._read(pad_sequence(some, batch_first=True), takes, [state[r] for r in rows])
            for at, (row, take) in enumerate(zip(rows, takes, strict=True)):
                pieces[row].append(hidden[at, :take])
                state[row] = after[at]
                done[row] += take
        padded = pad_sequence([torch.cat(parts) for parts in pieces], batch_first=True)
        return F.pad(padded, (0, 0, 0, steps - padded.shape[1])), state

    def _reopen(self, state: list[RowState], rows: list[int]) -> None:
        """Lets the full `rows` of `state` begin anew with their last words."""
        overlap = self.config.overlap
        again: list[RowState] = [()] * len(rows)
        if rows and overlap:
            last = [torch.cat([block[-1] for block in state[row]])[-overlap:] for row in rows]
            _, again = self._read(torch.stack(last), [overlap] * len(rows), again)
        for row, fresh in zip(rows, again, strict=True):
            state[row] = fresh

    def _read(
        self, vectors: Tensor, counts: list[int], state: list[RowState]
    ) -> tuple[Tensor, list[RowState]]:
        """`forward` where no row grows beyond the window."""
        steps = vectors.shape[1]
        starts = [count_words(row) for row in state]
        pasts = [Past(state, rows, steps, vectors) for rows in alike(starts)]
        hidden = vectors + self._position_vectors(starts, steps, vectors)
        if self.embedding_norm is not None:
            hidden = self.embedding_norm(hidden)
        planes: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            hidden, fresh = layer(hidden, index, pasts)
            planes.append(fresh)
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        if self.to_hidden is not None:
            hidden = self.to_hidden(hidden)
        if min(counts) < steps:
            ends = torch.tensor(counts, device=hidden.device)
            hidden = hidden * (torch.arange(steps, device=hidden.device) < ends[:, None])[:, :, None]
        if self.config.overlap:
            planes.append(vectors[None])
        fresh = torch.cat(planes)
        after = [
            extended(row, fresh[:, at, :count].clone())
            for at, (row, count) in enumerate(zip(state, counts, strict=True))
        ]
        return hidden, after

    def _position_vectors(self, starts: list[int], steps: int, like: Tensor) -> Tensor:
        """(B, T, units) for rows that have read `starts` words."""
        if self.config.positions == "none":
            return like.new_zeros(())
        device = like.device
        places = torch.tensor(starts, device=device)[:, None] + torch.arange(steps, device=device)
        # Padding may stand beyond the window.
        places = places.clamp(max=self.window - 1)
        if self.positions is not None:
            return F.embedding(places, self.positions)
        return _sinusoids(places + self.config.first_position, self.config.units).to(like.dtype)


class _Layer(nn.Module):
    """Self-attention, then a feed-forward network, each with a residual connection and a layer norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        units = config.units
        self.heads = config.heads
        self.pre_norm = config.pre_norm
        self.activation = config.activation
        self.attention_norm = nn.LayerNorm(units)
        self.queries_keys_values = nn.Linear(units, 3 * units)
        self.attended = nn.Linear(units, units)
        self.inner_norm = nn.LayerNorm(units)
        self.inner = nn.Linear(units, config.inner)
        self.outer = nn.Linear(config.inner, units)

    def forward(self, x: Tensor, index: int, pasts: Sequence[Past]) -> tuple[Tensor, Tensor]:
        """(B, T, units) after this layer, the `index`-th, and the words' keys and values (2, B, T, units).

        `pasts` hold the words before, each row in one of them.
        """
        attended, fresh = self._attend(self.attention_norm(x) if self.pre_norm else x, index, pasts)
        x = x + attended
        if not self.pre_norm:
            x = self.attention_norm(x)
        inner = self.inner(self.inner_norm(x) if self.pre_norm else x)
        if self.activation == "relu":
            inner = F.relu(inner)
        else:
            inner = F.gelu(inner, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        x = x + self.outer(inner)
        return x if self.pre_norm else self.inner_norm(x), fresh

    def _attend(self, x: Tensor, index: int, pasts: Sequence[Past]) -> tuple[Tensor, Tensor]:
        batch, steps, units = x.shape
        planes = self.queries_keys_values(x).view(batch, steps, 3, units).permute(2, 0, 1, 3)
        if len(pasts) == 1:
            attended = self._attend_past(planes, index, pasts[0])
        else:
            attended = torch.empty_like(x)
            for past in pasts:
                attended[past.rows] = self._attend_past(planes[:, past.rows], index, past)
        return self.attended(attended), planes[1:]

    def _attend_past(self, planes: Tensor, index: int, past: Past) -> Tensor:
        """(b, T, units): attention of the queries in `planes` (3, b, T, units) to `past` and themselves."""
        queries, seen = planes[0], past.followed_by(planes[1:], index)
        attended = F.scaled_dot_product_attention(
            *(self._by_head(queries), self._by_head(seen[0]), self._by_head(seen[1])),
            attn_mask=past.mask,
            is_causal=past.empty and queries.shape[1] > 1,
        )
        return attended.transpose(1, 2).reshape(queries.shape)

    def _by_head(self, plane: Tensor) -> Tensor:
        """(B, T, units) -> (B, heads, T, units / heads)."""
        batch, steps, units = plane.shape
        return plane.view(batch, steps, self.heads, units // self.heads).transpose(1, 2)


def _sinusoids(places: Tensor, units: int) -> Tensor:
    """(..., units) float32: sines of geometrically falling frequencies, then their cosines, as tensor2tensor
    and fairseq lay out section 3.5 of Vaswani et al.; an odd last unit is zero."""
    half = units // 2
    rate = math.log(10000) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=places.device) * -rate)
    angles = places.to(torch.float32)[..., None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, units % 2))
