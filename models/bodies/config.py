"""The bodies' part of ``config.json``: one class a kind, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """A part of the configuration: no field beyond the known ones, no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LSTMConfig(Part):
    """A stacked LSTM; `projection` (Sak et al. 2014) is narrower than `units`, or 0 for none.

    With `residual`, each layer whose input is as wide as its output adds the two. `layer_units` are the
    units of each layer where they differ; `units` is then the largest. With `output_bias`, the map from the
    last layer to the hidden size, which exists where the two differ or there is a bias, has one.
    """

    type: Literal["lstm"] = "lstm"
    layers: Annotated[int, Field(ge=1, le=100)]
    units: Size
    projection: Annotated[int, Field(ge=0)] = 0
    residual: bool = False
    layer_units: Annotated[tuple[Size, ...], Field(strict=False)] = ()
    output_bias: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> LSTMConfig:
        if self.projection >= min(self.units_of_layers):
            raise ValueError(
                f"projection ({self.projection}) must be less than units ({min(self.units_of_layers)})"
            )
        if self.layer_units and (len(self.layer_units) != self.layers or max(self.layer_units) != self.units):
            raise ValueError(
                f"layer_units {list(self.layer_units)} must be {self.layers} numbers,"
                f" the largest of them units ({self.units})"
            )
        return self

    @property
    def units_of_layers(self) -> tuple[int, ...]:
        """The units of each layer."""
        return self.layer_units or (self.units,) * self.layers


class TransformerXLConfig(Part):
    """A Transformer-XL (Dai et al. 2019): `layers` of `heads` x `head_size` attention and `inner` units.

    What a position attends: its own segment of `segment` words up to itself and the `memory` positions before
    the segment (the original's `tgt_len` and `mem_len`); or, with `attended`, exactly so many positions,
    itself among them (`same_length`). Memory before a text is filled with zeros (TensorFlow, Hugging Face) or
    empty (the PyTorch original). Distances beyond `clamp` count as `clamp`. These five may be changed without
    training, as the original's evaluation does. With `pre_norm` layer norms come before each part, not after;
    with `shared_biases` all layers share the two query biases.
    """

    type: Literal["transformer_xl"] = "transformer_xl"
    layers: Annotated[int, Field(ge=1, le=1000)]
    heads: Size
    head_size: Size
    inner: Size
    memory: Annotated[int, Field(ge=0)]
    segment: Size
    attended: Size | None = None
    initial_memory: Literal["zeros", "empty"]
    clamp: Size | None = None
    pre_norm: bool = False
    shared_biases: bool = False
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5

    @model_validator(mode="after")
    def _reachable(self) -> TransformerXLConfig:
        if self.attended is not None and self.attended > self.memory + 1:
            raise ValueError(
                f"attended ({self.attended}) must be at most memory + 1 ({self.memory + 1}): a position and"
                " the memory before it"
            )
        return self


BodyConfig = Annotated[LSTMConfig | TransformerXLConfig, Field(discriminator="type")]
"""Any of them."""
