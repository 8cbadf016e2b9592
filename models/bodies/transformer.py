"""The transformer body: causal self-attention over the words so far.

Vaswani et al., "Attention is all you need", 2017, as decoder without an encoder; with layer norms before each
part and adaptive inputs it is the language model of Baevski & Auli, ICLR 2019 (fairseq's ``transformer_lm``).

Texts longer than the window. A model attends `window` words, whose positions it knows from training. When a
text has filled them, its last `overlap` words are read again from the first position on, and it continues
behind them: each word is seen with at least `overlap` words before it and never with more than the window.
This is what ``fairseq-eval-lm --tokens-per-sample <window> --context-window <overlap>`` computes where
``window - overlap`` divides `window`; `overlap` 0 is its default, which forgets everything at each edge.

State. A row's state is its keys and values, in blocks of (2 * layers, words, units) that are never changed:
the states after "a b" and after "a b c" share what they agree in. With an overlap, a block's last plane holds
the word vectors themselves, from which the overlap is read again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from models.bodies.base import RowState
from models.bodies.config import TransformerConfig

BLOCK: Final = 16
"""Words. Shorter blocks stand at a state's end and are joined as soon as they make up one."""


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

    def forward(
        self, vectors: Tensor, lengths: Tensor | None, state: list[RowState]
    ) -> tuple[Tensor, list[RowState]]:
        """Hidden rows (B, T, hidden_size), zero beyond each row's length, and the state after it.

        `lengths` (B,) int64 on the CPU, each at least 1; None when every row is T long.
        """
        batch, steps, _ = vectors.shape
        counts = [steps] * batch if lengths is None else [int(count) for count in lengths]
        if all(_words(row) + count <= self.window for row, count in zip(state, counts, strict=True)):
            return self._read(vectors, counts, state)
        state, done = list(state), [0] * batch
        pieces: list[list[Tensor]] = [[] for _ in range(batch)]
        while rows := [row for row in range(batch) if done[row] < counts[row]]:
            self._reopen(state, [row for row in rows if _words(state[row]) == self.window])
            takes = [min(counts[row] - done[row], self.window - _words(state[row])) for row in rows]
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
        past = _Past(state, vectors.device)
        mask = past.mask(steps)
        hidden = vectors + self._position_vectors(past.counts, steps, vectors)
        if self.embedding_norm is not None:
            hidden = self.embedding_norm(hidden)
        planes: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            hidden, fresh = layer(hidden, past.keys_values(index), mask)
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
            _extended(row, fresh[:, at, :count].clone())
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

    def forward(self, x: Tensor, past: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, units) after this layer, and the words' keys and values (2, B, T, units).

        `past` (2, B, P, units) are those of the words before; `mask`: see `_Past.mask`.
        """
        attended, fresh = self._attend(self.attention_norm(x) if self.pre_norm else x, past, mask)
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

    def _attend(self, x: Tensor, past: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, steps, units = x.shape
        planes = self.queries_keys_values(x).view(batch, steps, 3, units).permute(2, 0, 1, 3)
        fresh = planes[1:]
        seen = fresh if past is None else torch.cat([past, fresh], dim=2)
        queries, keys, values = (self._by_head(plane) for plane in (planes[0], seen[0], seen[1]))
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=past is None and steps > 1
        )
        return self.attended(attended.transpose(1, 2).reshape(batch, steps, units)), fresh

    def _by_head(self, plane: Tensor) -> Tensor:
        """(B, T, units) -> (B, heads, T, units / heads)."""
        batch, steps, units = plane.shape
        return plane.view(batch, steps, self.heads, units // self.heads).transpose(1, 2)


class _Past:
    """What the rows of a batch have read: `counts` words each, padded to the longest for each layer."""

    def __init__(self, rows: Sequence[RowState], device: torch.device) -> None:
        self.counts = [_words(row) for row in rows]
        self._blocks = [block for row in rows for block in row]
        self._longest = max(self.counts)
        self._device = device
        self._index: Tensor | None = None
        if min(self.counts) < self._longest:
            starts = accumulate(self.counts[:-1], initial=0)
            # Padding shows any word: the mask hides it.
            self._index = torch.tensor(
                [
                    place
                    for start, count in zip(starts, self.counts, strict=True)
                    for place in (*range(start, start + count), *(0,) * (self._longest - count))
                ],
                device=device,
            )

    def keys_values(self, layer: int) -> Tensor | None:
        """(2, B, longest, units) of `layer`; None if no row has read anything."""
        if not self._longest:
            return None
        flat = torch.cat([block[2 * layer : 2 * layer + 2] for block in self._blocks], dim=1)
        if self._index is not None:
            flat = flat.index_select(1, self._index)
        return flat.view(2, len(self.counts), self._longest, flat.shape[2])

    def mask(self, steps: int) -> Tensor | None:
        """Which words each of `steps` new ones may attend, bool (B or 1, 1, steps, longest + steps).

        None where they may attend all or, nothing having been read, all up to themselves.
        """
        if not self._longest or (steps == 1 and self._index is None):
            return None
        causal = torch.ones(steps, steps, dtype=torch.bool, device=self._device).tril()
        counts = torch.tensor(self.counts if self._index is not None else self.counts[:1])
        read = torch.arange(self._longest) < counts[:, None]
        read = read.to(self._device)[:, None, None].expand(-1, 1, steps, -1)
        return torch.cat([read, causal.expand(len(read), 1, -1, -1)], dim=3)


def _words(row: RowState) -> int:
    return sum(block.shape[1] for block in row)


def _extended(row: RowState, block: Tensor) -> RowState:
    """`row` and one more block."""
    whole = [old for old in row if old.shape[1] >= BLOCK]
    short = [*row[len(whole) :], block]
    if len(short) > 1 and _words(tuple(short)) >= BLOCK:
        short = [torch.cat(short, dim=1)]
    return (*whole, *short)


def _sinusoids(places: Tensor, units: int) -> Tensor:
    """(..., units) float32: sines of geometrically falling frequencies, then their cosines, as tensor2tensor
    and fairseq lay out section 3.5 of Vaswani et al.; an odd last unit is zero."""
    half = units // 2
    rate = math.log(10000) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=places.device) * -rate)
    angles = places.to(torch.float32)[..., None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, units % 2))
