"""Small bodies of each architecture, with random weights, and what any body must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.bodies.base import Body
from models.bodies.gated_convolution import GatedConvolutionBody
from models.bodies.lstm import LSTMBody
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

LSTM_HIDDEN = 6

LSTMS = {
    "one layer": LSTMConfig(layers=1, units=6),
    "wider units": LSTMConfig(layers=2, units=9),
    "projection": LSTMConfig(layers=2, units=9, projection=6),
    "projection of another size": LSTMConfig(layers=2, units=9, projection=4),
    "residual": LSTMConfig(layers=3, units=9, projection=6, residual=True),
    "residual from the second layer on": LSTMConfig(layers=2, units=9, projection=4, residual=True),
}


def lstm(config: LSTMConfig) -> LSTMBody:
    torch.manual_seed(0)
    body = LSTMBody(config, LSTM_HIDDEN).eval().requires_grad_(False)
    for weight in body.parameters():
        weight.add_(torch.randn_like(weight) * 0.1)  # biases that are not zero
    return body


RNN_INPUT, RNN_UNITS = 5, 7

RNNS = {
    f"{cell}, {layers} layers": RNNConfig.model_validate({"type": cell, "layers": layers, "units": RNN_UNITS})
    for cell in ("gru", "rnn_tanh", "rnn_relu")
    for layers in (1, 3)
}


def rnn(config: RNNConfig) -> RNNBody:
    torch.manual_seed(0)
    return RNNBody(config, RNN_INPUT).eval().requires_grad_(False)


TRANSFORMER_UNITS = 16


def transformer(hidden_size: int = TRANSFORMER_UNITS, **changes: Any) -> TransformerBody:
    torch.manual_seed(0)
    config: dict[str, Any] = {"layers": 2, "units": TRANSFORMER_UNITS, "heads": 2, "inner": 24, "window": 100}
    made = TransformerBody(TransformerConfig.model_validate(config | changes), hidden_size).eval()
    for parameter in made.parameters():
        parameter.requires_grad_(False).normal_(0.1, 0.4)
    return made


TRANSFORMERS: dict[str, Callable[[], TransformerBody]] = {
    "pre-norm": lambda: transformer(final_norm=True, first_position=2),
    "post-norm": lambda: transformer(pre_norm=False, activation="gelu", positions="learned"),
    "narrow": lambda: transformer(10, embedding_norm=True, positions="none", activation="gelu_tanh"),
    "windowed": lambda: transformer(window=8, overlap=5),
    "forgetful": lambda: transformer(window=7, positions="learned"),
    "odd window": lambda: transformer(window=9, overlap=1),
    "window of one": lambda: transformer(window=1),
}


XL_HIDDEN = 12
XL_REACHES: dict[str, dict[str, Any]] = {
    "segments, zeros": {"memory": 5, "segment": 4, "initial_memory": "zeros"},
    "segments, empty": {"memory": 5, "segment": 4, "initial_memory": "empty"},
    "long segments, short memory": {"memory": 1, "segment": 9, "initial_memory": "zeros"},
    "no memory": {"memory": 0, "segment": 3, "initial_memory": "zeros"},
    "same length, zeros": {"memory": 5, "segment": 7, "attended": 5, "initial_memory": "zeros"},
    "same length, one more": {"memory": 5, "segment": 7, "attended": 6, "initial_memory": "empty"},
    "itself alone": {"memory": 0, "segment": 7, "attended": 1, "initial_memory": "empty"},
    "everything": {"memory": 0, "segment": 100, "initial_memory": "empty"},
}


def transformer_xl(**options: Any) -> TransformerXLBody:
    sizes: dict[str, Any] = {"layers": 2, "heads": 3, "head_size": 5, "inner": 7}
    body = TransformerXLBody(TransformerXLConfig(**{**sizes, **options}), XL_HIDDEN)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in body.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return body.eval().requires_grad_(False)


CONVOLUTIONS = [(8, 3, 1), (8, 1, 0), (12, 4, 3), (12, 2, 2)]
CONVOLUTION_INPUTS = 6


def gated_convolution(
    layers: list[tuple[int, int, int]], hidden_size: int, **changes: Any
) -> GatedConvolutionBody:
    torch.manual_seed(0)
    names = ("channels", "kernel", "residual")
    config = {"layers": [dict(zip(names, layer, strict=True)) for layer in layers]} | changes
    made = GatedConvolutionBody(
        GatedConvolutionConfig.model_validate(config), hidden_size, CONVOLUTION_INPUTS
    ).eval()
    return made.requires_grad_(False)


def in_pieces(body: Body[Any], vectors: Tensor, cuts: Sequence[int]) -> tuple[Tensor, Any]:
    """Hidden rows (B, T, d) of `vectors` run in pieces that end at `cuts`, each from the last one's state,
    and the state after them."""
    state, parts = body.initial_state(len(vectors)), []
    for part in vectors.tensor_split(list(cuts), dim=1):
        hidden, state = body(part, torch.full((len(part),), part.shape[1]), state)
        parts.append(hidden)
        state = body.stack_states(body.split_state(state))
    return torch.cat(parts, 1), state


def assert_padding_is_nothing(
    body: Body[Any], vectors: Tensor, lengths: Tensor, alone: Callable[[Tensor], Tensor]
) -> None:
    """Each row of a batch is what `alone` gives for it, (T, d) of (T, input); what stands behind its length
    changes neither hidden rows nor states."""
    hidden, after = body(vectors, lengths, body.initial_state(len(vectors)))
    other = vectors.clone()
    for row, length in enumerate(lengths.tolist()):
        other[row, length:] = 1e4
        assert not hidden[row, length:].any()
        torch.testing.assert_close(hidden[row, :length], alone(vectors[row, :length]), atol=1e-5, rtol=1e-5)
    again, after_again = body(other, lengths, body.initial_state(len(vectors)))
    assert torch.equal(hidden, again)
    for one, two in zip(body.split_state(after), body.split_state(after_again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
