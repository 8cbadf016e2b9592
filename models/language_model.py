"""LanguageModel = adaptive embedding + body + adaptive softmax."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.bodies.base import Body, RowState, State, TensorState, last_rows
from models.bodies.gated_convolution import GatedConvolutionBody
from models.bodies.lstm import LSTMBody
from models.bodies.quantized_lstm import QuantizedLSTMBody
from models.bodies.rnn import RNNBody
from models.bodies.transformer import TransformerBody
from models.bodies.transformer_xl import TransformerXLBody
from models.config.bodies import (
    GatedConvolutionConfig,
    LSTMConfig,
    RNNConfig,
    TransformerConfig,
    TransformerXLConfig,
)
from models.config.model import ModelConfig
from models.kernels.base import ExactBounds
from models.kernels.choice import Choice, choose
from models.kernels.cpu.library import KernelError
from models.kernels.cpu.lstm import CpuLSTM
from models.softmax.adaptive_embedding import AdaptiveEmbedding
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.differentiated_softmax import DifferentiatedSoftmax
from models.softmax.sampling import Draw, Drawn, draw, greedy
from models.softmax.topk import TopK


class LanguageModel(nn.Module):
    """A word-level language model. A text runs as the start word, then its own words.

    Attributes:
        choice: the kernels that run the output layer's operations; torch's operators until `accelerate`.
    """

    def __init__(self, config: ModelConfig, excluded: frozenset[int] = frozenset()) -> None:
        """`excluded`: ids that `topk` never answers (the unknown word)."""
        super().__init__()
        self.config = config
        layer = DifferentiatedSoftmax if config.output == "differentiated" else AdaptiveSoftmax
        self.softmax: AdaptiveSoftmax = layer(config, excluded)
        self.embedding = AdaptiveEmbedding(config, self.softmax)
        self.body = make_body(config)
        self.choice = Choice(self.softmax, ExactBounds(self.softmax))
        self._fast_body: CpuLSTM | None = None

    def accelerate(self) -> None:
        """Choose the fastest kernels for where the weights are; the weights must not change afterwards."""
        self.choice = choose(self.softmax, self.device)
        if self.device.type == "cpu" and isinstance(self.body, LSTMBody):
            # Without the extension torch runs the body too; `choose` has said why.
            with contextlib.suppress(KernelError):
                self._fast_body = CpuLSTM(self.body, embedding=self.embedding)

    @property
    def kernels(self) -> dict[str, str]:
        """One line each on what runs the body and the output layer, for a person."""
        sums = "float32" if self.config.quantization is None else "8 bits"
        body = f"torch operators, {sums}" if self._fast_body is None else self._fast_body.description
        return {
            "body": body,
            "softmax": self.choice.description,
            "softmax_fast": self.choice.fast.description,
        }

    def initial_state(self, batch_size: int) -> State:
        """The state before a text, for a batch."""
        state: State = self.body.initial_state(batch_size)
        return state

    def stack_states(self, rows: Sequence[RowState]) -> State:
        """One batched state of the rows' own."""
        state: State = self.body.stack_states(rows)
        return state

    def split_state(self, state: State) -> list[RowState]:
        """The rows' own states, each with memory of its own (safe to keep)."""
        return self.body.split_state(state)

    def encode(self, ids: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden rows (B, T, d) of `ids` (B, T) int64 continued from `state`, and the state after them.

        `lengths` (B,) int64 on the CPU, each at least 1: padding beyond them is not computed by the body,
        its hidden rows are zero and the state is that after each row's last word.
        """
        if self._fast_body is not None:
            return self._fast_body.encode(ids, lengths, cast("TensorState", state))
        hidden, after = self.body(self.embedding(ids), lengths, state)
        return hidden, after

    def encode_last(self, ids: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`encode` for predictions: only (B, d) the hidden row after each row's last word, and its state."""
        if self._fast_body is not None:
            return self._fast_body.encode(ids, lengths, cast("TensorState", state), last=True)
        hidden, after = self.encode(ids, lengths, state)
        return last_rows(hidden, lengths), after

    def read(self, ids: Sequence[int]) -> Tensor:
        """The hidden rows (T, d) after each of one text's T `ids`, the start word's id first."""
        text = torch.tensor([ids], dtype=torch.int64, device=self.device)
        return self.encode(text, torch.tensor([len(ids)]), self.initial_state(1))[0][0]

    def topk(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> TopK:
        """The exact k most probable next words; see `AdaptiveSoftmax.topk`."""
        return self.choice.exact.topk(hidden, k, allowed)

    def target_logprobs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """(N,) log-probabilities of the given next words; see `AdaptiveSoftmax.target_logprobs`."""
        return self.choice.exact.target_logprobs(hidden, targets)

    def topk_bounded(
        self, hidden: Tensor, k: int | Sequence[int], allowed: Sequence[Tensor | None] | None = None
    ) -> tuple[TopK, Tensor]:
        """`topk` in the fast mode: the same ids in the same order, and (B,) float32, the most in nats by
        which each row's log-probabilities may be off; 0 where they are exact. See `BoundedKernel`."""
        return self.choice.fast.topk_bounded(hidden, k, allowed)

    def target_logprobs_bounded(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`target_logprobs` in the fast mode, and (N,) float32: the most by which each may be off."""
        return self.choice.fast.target_logprobs_bounded(hidden, targets)

    def draw(self, hidden: Tensor, draws: Sequence[Draw]) -> Drawn:
        """A next word for each row, drawn from the exact distribution; see `models.softmax.sampling.draw`."""
        return draw(self.softmax, hidden, draws, self.topk)

    def greedy(self, hidden: Tensor, bias: Mapping[int, float]) -> tuple[int, float]:
        """The most probable biased word after one row (1, d); see `models.softmax.sampling.greedy`."""
        return greedy(self.topk, self.target_logprobs, hidden, bias, self.softmax.excluded)

    def state_bytes(self, words: int) -> int:
        """The most bytes that one text's own state, as of `split_state`, takes after up to `words` words."""
        return self.body.state_bytes(words)

    def parameter_count(self) -> int:
        """Distinct parameters; tied ones count once."""
        return sum(weight.numel() for weight in self.parameters())

    @property
    def window(self) -> int | None:
        """The most tokens of one text that the body can attend to at once; None: no limit."""
        return self.body.window

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.softmax.head.device


def make_body(config: ModelConfig) -> Body[Any]:
    """The body that `config` describes: vectors of `input_size` -> rows of `hidden_size`."""
    match config.body:
        case LSTMConfig():
            body = LSTMBody if config.quantization is None else QuantizedLSTMBody
            return body(config.body, config.hidden_size, config.input_size)
        case RNNConfig():
            return RNNBody(config.body, config.input_size)
        case TransformerXLConfig():
            return TransformerXLBody(config.body, config.hidden_size)
        case TransformerConfig():
            return TransformerBody(config.body, config.hidden_size)
        case GatedConvolutionConfig():
            return GatedConvolutionBody(config.body, config.hidden_size, config.input_size)
