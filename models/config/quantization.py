"""What ``config.json`` says of weights in 8 bits."""

from __future__ import annotations

from typing import Literal

from models.config.strict import Strict


class QuantizationConfig(Strict):
    """Which weights are integers of 8 bits with a float scale a row.

    `body`: an LSTM's matrices, which are also multiplied as integers; see `models.bodies.quantized_lstm`.
    `tables`: with ``int8``, the matrices of the embedding and the output layer are stored so, and become
    float32 when they are read.
    """

    body: Literal["int8"] = "int8"
    tables: Literal["float", "int8"] = "float"
