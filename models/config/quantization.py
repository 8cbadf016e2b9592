"""What ``config.json`` says of weights in 8 bits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.config.strict import Strict


class QuantizationCost(Strict):
    """What 8 bits cost on `words` words of a text: the perplexity of the model before and of this one, and
    the share of the words before which both find the same next word most probable."""

    words: Annotated[int, Field(ge=1)]
    perplexity_before: Annotated[float, Field(gt=0)]
    perplexity: Annotated[float, Field(gt=0)]
    same_first: Annotated[float, Field(ge=0, le=1)]


class QuantizationConfig(Strict):
    """Which weights are integers of 8 bits with a float scale a row.

    `body`: an LSTM's matrices, which are also multiplied as integers; see `models.bodies.quantized_lstm`.
    `tables`: with ``int8``, the word vectors of the embedding and the output layer are stored so, and become
    float32 when they are read. `cost` is known where it was measured.
    """

    body: Literal["int8"] = "int8"
    tables: Literal["float", "int8"] = "float"
    cost: QuantizationCost | None = None
