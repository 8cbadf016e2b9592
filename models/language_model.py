"""LanguageModel = adaptive embedding + body + adaptive softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.adaptive_embedding import AdaptiveEmbedding
from models.adaptive_softmax import AdaptiveSoftmax, TopK
from models.bodies.lstm import LSTMBody, State
from models.config import ModelConfig

RowState = State


class LanguageModel(nn.Module):
    """A word-level language model. A text runs as the end-of-sentence word, then its own words."""

    def __init__(self, config: ModelConfig, excluded: frozenset[int] = frozenset()) -> None:
        """`excluded`: ids that `topk` never answers (the unknown word)."""
        super().__init__()
        self.config = config
        self.softmax = AdaptiveSoftmax(config, excluded)
        self.embedding = AdaptiveEmbedding(config, self.softmax)
        self.body = LSTMBody(config.body, config.hidden_size)

    def initial_state(self, batch_size: int) -> State:
        """The state before a text, for a batch."""
        return self.body.initial_state(batch_size)

    def stack_states(self, rows: Sequence[RowState]) -> State:
        """One batched state of the rows' own."""
        return self.body.stack_states(rows)

    def split_state(self, state: State) -> list[RowState]:
        """The rows' own states, each with memory of its own (safe to keep)."""
        return self.body.split_state(state)

    def encode(self, ids: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden rows (B, T, d) of `ids` (B, T) int64 continued from `state`, and the state after them.

        `lengths` (B,) int64 on the CPU, each at least 1: padding beyond them is not computed by the body,
        its hidden rows are zero and the state is that after each row's last word.
        """
        hidden, after = self.body(self.embedding(ids), lengths, state)
        return hidden, after

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """The exact k most probable next words; see `AdaptiveSoftmax.topk`."""
        return self.softmax.topk(hidden, k, allowed)

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """(N,) log-probabilities of the given next words; see `AdaptiveSoftmax.target_logprobs`."""
        return self.softmax.target_logprobs(hidden, targets)

    def parameter_count(self) -> int:
        """Distinct parameters; tied ones count once."""
        return sum(weight.numel() for weight in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.softmax.head.device
