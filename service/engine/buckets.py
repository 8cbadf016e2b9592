"""Slices of a batch -> hidden rows: the model's body, run on rows of different lengths."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from models.bodies.base import State, last_rows
from models.language_model import LanguageModel
from service.engine.work import Slice

SPARE_TOKENS = 512
"""Padding that is cheaper than one more call of the body."""


class Bucket:
    """Slices that run side by side: b of them, the longest first, n tokens long.

    Construction copies the body's inputs to the device; `encode` or `encode_last` makes its outputs.

    Attributes:
        lengths: (b,) int64 on the CPU, the slices' numbers of tokens; all 0 where the body has nothing to do.
        hidden: (b, n, d) the hidden row after each token, zero beyond a slice's end; by `encode` if n > 0.
        last: (b, d) the hidden row after each slice; by either.
        state: the body before, then after each slice, batched.
    """

    def __init__(self, model: LanguageModel, device: torch.device, slices: list[Slice]) -> None:
        self.slices = slices
        self.steps = slices[0].count
        self.lengths = torch.tensor([piece.count for piece in slices])
        self.hidden: Tensor
        self.last: Tensor
        self.state: State = ()
        self._after: list[tuple[Tensor, tuple[Tensor, ...]]] = []
        if self.steps:
            rows = [
                piece.node.tokens[piece.node.position : piece.end] + (0,) * (self.steps - piece.count)
                for piece in slices
            ]
            self._ids = torch.tensor(rows, device=device)
            self.state = model.stack_states([piece.node.state for piece in slices])

    @cached_property
    def before(self) -> Tensor:
        """(b, d) the hidden rows before each slice; to be asked for before `move_on`."""
        return torch.stack([_hidden(piece) for piece in self.slices])

    @property
    def padding(self) -> int:
        """Tokens by which the rows are lengthened to the longest one's."""
        return len(self.slices) * self.steps - sum(piece.count for piece in self.slices)

    def encode(self, model: LanguageModel) -> None:
        """Runs the body on the slices, if they have tokens."""
        if not self.steps:
            self.last = self.before
            return
        self.hidden, self.state = model.encode(self._ids, self.lengths, self.state)
        self.last = last_rows(self.hidden, self.lengths)

    def encode_last(self, model: LanguageModel) -> None:
        """`encode` for predictions, which need no hidden row but the last."""
        if not self.steps:
            self.last = self.before
            return
        self.last, self.state = model.encode_last(self._ids, self.lengths, self.state)

    def shifted(self) -> Tensor:
        """(b * (n + 1), d) for each slice the hidden row before it, then that after each of its tokens."""
        if not self.steps:
            return self.before
        return torch.cat([self.before[:, None], self.hidden], dim=1).flatten(0, 1)

    @property
    def continues(self) -> bool:
        """Whether a node, or a child of one, goes on after its slice."""
        return any(not piece.completes or piece.node.children for piece in self.slices)

    def split(self, model: LanguageModel) -> None:
        """Makes the row and the state after each slice, in memory of their own, for `move_on`."""
        if self.steps:
            rows = torch.ops.aten.unbind_copy(self.last)
            self._after = list(zip(rows, model.split_state(self.state), strict=True))

    def move_on(self) -> None:
        """Moves the nodes past their slices. Those that were not split need no state from now on."""
        for piece, (hidden, state) in zip(self.slices, self._after, strict=False):
            piece.node.hidden, piece.node.state = hidden, state
        for piece in self.slices:
            piece.node.position = piece.end


def split_by_length(slices: Sequence[Slice]) -> Iterator[list[Slice]]:
    """Rows to run side by side, so that the padding of each part stays below its tokens plus `SPARE_TOKENS`.

    Slices without a token, which only the head has something to do for, are a part of their own.
    """
    part: list[Slice] = []
    tokens = 0
    for piece in sorted(slices, key=lambda piece: piece.count, reverse=True):
        padded = (len(part) + 1) * part[0].count if part else 0
        if padded > 2 * (tokens + piece.count) + SPARE_TOKENS or (padded and not piece.count):
            yield part
            part, tokens = [], 0
        part.append(piece)
        tokens += piece.count
    yield part


def _hidden(piece: Slice) -> Tensor:
    hidden = piece.node.hidden
    assert hidden is not None  # noqa: S101 -- `Batcher.next` gives each node a state before it is cut
    return hidden
