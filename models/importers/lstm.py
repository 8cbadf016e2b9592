"""The weights of `torch.nn.LSTM` modules, however many layers each has, as our LSTM body's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from models.config.bodies import LSTMConfig
from models.importers.base import CheckpointError, Weights

_FOUR_GATES = 4


def take_lstm(
    weights: Weights, prefixes: Sequence[str], input_size: int, hidden_size: int, output: str | None = None
) -> tuple[LSTMConfig, dict[str, Tensor]]:
    """Takes all layers of the modules at `prefixes`, in order, and of a `torch.nn.Linear` at `output`.

    Args:
        weights: where they are.
        prefixes: of the modules' names, with the dot: ``"lstm."``.
        input_size: of the vectors that the first layer reads.
        hidden_size: that the last layer, or the linear map after it, must give.
        output: prefix of the linear map from the last layer to the hidden row; None where there is none.

    Returns:
        The body's configuration and its weights by name.

    Raises:
        CheckpointError: a layer is missing, reads both ways, or has another size than its neighbors.
    """
    body: dict[str, Tensor] = {}
    units: list[int] = []
    projections: list[int] = []
    size = input_size
    for prefix in prefixes:
        for layer in count():
            suffix = f"_l{layer}"
            if f"{prefix}weight_ih{suffix}" not in weights and (layer or len(prefixes) > 1):
                if layer == 0:
                    raise CheckpointError(f"{prefix}weight_ih_l0 is missing")
                break
            if f"{prefix}weight_ih{suffix}_reverse" in weights:
                raise CheckpointError(f"{prefix}: reads both ways, so it predicts no next word")
            ours = f"body.layers.{len(units)}."
            w_ih = weights.take(f"{prefix}weight_ih{suffix}", None, size)
            gates = w_ih.shape[0]
            if gates % _FOUR_GATES:
                raise CheckpointError(f"{prefix}weight_ih{suffix} has {gates} rows, not four an LSTM unit")
            if f"{prefix}weight_hr{suffix}" in weights:
                w_hr = weights.take(f"{prefix}weight_hr{suffix}", None, gates // _FOUR_GATES)
                body[f"{ours}weight_hr_l0"] = w_hr
                projections.append(w_hr.shape[0])
            else:
                projections.append(0)
            units.append(gates // _FOUR_GATES)
            size = projections[-1] or units[-1]
            body[f"{ours}weight_ih_l0"] = w_ih
            body[f"{ours}weight_hh_l0"] = weights.take(f"{prefix}weight_hh{suffix}", gates, size)
            for name in ("bias_ih", "bias_hh"):
                there = f"{prefix}{name}{suffix}"
                body[f"{ours}{name}_l0"] = (
                    weights.take(there, gates) if there in weights else torch.zeros(gates, dtype=w_ih.dtype)
                )
    if len(set(projections)) != 1:
        raise CheckpointError(f"the layers have projections of different sizes: {projections}")
    biased = False
    if output is not None:
        body["body.to_hidden.weight"] = weights.take(f"{output}weight", hidden_size, size)
        biased = f"{output}bias" in weights
        if biased:
            body["body.to_hidden.bias"] = weights.take(f"{output}bias", hidden_size)
        elif size == hidden_size:
            # Our body has such a map only where it changes the size or has a bias.
            body["body.to_hidden.bias"], biased = torch.zeros(hidden_size), True
    elif size != hidden_size:
        raise CheckpointError(f"the last layer gives {size} numbers, the softmax reads {hidden_size}")
    config = LSTMConfig(
        layers=len(units),
        units=max(units),
        projection=projections[0],
        layer_units=() if len(set(units)) == 1 else tuple(units),
        output_bias=biased,
    )
    return config, body
