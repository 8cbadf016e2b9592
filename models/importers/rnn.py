"""The weights of a `torch.nn.GRU` or `torch.nn.RNN`, as our RNN body's."""

from __future__ import annotations

from itertools import count
from typing import Final, Literal

import torch
from torch import Tensor

from models.config.bodies import RNNConfig
from models.importers.base import CheckpointError, Weights

Cell = Literal["gru", "rnn_tanh", "rnn_relu"]

_ROWS: Final[dict[Cell, int]] = {"gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Rows of a layer's matrices for each unit."""


def take_rnn(
    weights: Weights, prefix: str, cell: Cell, input_size: int, hidden_size: int
) -> tuple[RNNConfig, dict[str, Tensor]]:
    """Takes all layers of the module at `prefix` (with the dot: ``"rnn."``).

    Args:
        weights: where they are.
        prefix: of the module's names.
        cell: what its layers are made of.
        input_size: of the vectors that the first layer reads.
        hidden_size: the units of each layer.

    Returns:
        The body's configuration and its weights by name.

    Raises:
        CheckpointError: a weight is missing or of another shape, or a layer reads both ways.
    """
    body: dict[str, Tensor] = {}
    rows, size = _ROWS[cell] * hidden_size, input_size
    for layer in count():
        if layer and f"{prefix}weight_ih_l{layer}" not in weights:
            break
        if f"{prefix}weight_ih_l{layer}_reverse" in weights:
            raise CheckpointError(f"{prefix}: reads both ways, so it predicts no next word")
        w_ih = weights.take(f"{prefix}weight_ih_l{layer}", rows, size)
        body[f"body.rnn.weight_ih_l{layer}"] = w_ih
        body[f"body.rnn.weight_hh_l{layer}"] = weights.take(f"{prefix}weight_hh_l{layer}", rows, hidden_size)
        for bias in (f"bias_ih_l{layer}", f"bias_hh_l{layer}"):
            there = f"{prefix}{bias}"
            body[f"body.rnn.{bias}"] = (
                weights.take(there, rows) if there in weights else torch.zeros(rows, dtype=w_ih.dtype)
            )
        size = hidden_size
    return RNNConfig(type=cell, layers=layer, units=hidden_size), body
