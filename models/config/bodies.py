"""The bodies' part of ``config.json``: one class a kind, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.config.strict import Strict

Size = Annotated[int, Field(ge=1)]


class LSTMConfig(Strict):
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


class RNNConfig(Strict):
    """Stacked layers of gated recurrent units (`gru`), or of Elman's cells with tanh or relu, as torch has
    them; `units` is the hidden size."""

    type: Literal["gru", "rnn_tanh", "rnn_relu"]
    layers: Annotated[int, Field(ge=1, le=100)]
    units: Size


class TransformerXLConfig(Strict):
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


class TransformerConfig(Strict):
    """A causal transformer (Vaswani et al. 2017; Baevski & Auli 2019), as fairseq's ``transformer_lm``.

    `layers` of attention with `heads` and `inner` units between vectors of `units` dimensions, the size of
    the body's input. Layer norms come before each part (`pre_norm`) or after it; `final_norm` follows the
    last layer, `embedding_norm` the sum of word and position. The sinusoid of a text's first word is that of
    position `first_position`. Where `units` is not the hidden size, a linear map leads there.

    At most `window` words attend each other. A longer text goes on with its last `overlap` words read again
    from the first position on, as if the text began with them; see `models.bodies.transformer`.
    """

    type: Literal["transformer"] = "transformer"
    layers: Annotated[int, Field(ge=1, le=1000)]
    units: Annotated[int, Field(ge=4)]
    heads: Size
    inner: Size
    activation: Literal["relu", "gelu", "gelu_tanh"] = "relu"
    pre_norm: bool = True
    final_norm: bool = False
    embedding_norm: bool = False
    positions: Literal["sinusoidal", "learned", "none"] = "sinusoidal"
    first_position: Annotated[int, Field(ge=0)] = 0
    window: Annotated[int, Field(ge=1, le=1_000_000)]
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> TransformerConfig:
        if self.units % self.heads:
            raise ValueError(f"units ({self.units}) must be a multiple of heads ({self.heads})")
        if self.overlap >= self.window:
            raise ValueError(f"overlap ({self.overlap}) must be less than window ({self.window})")
        if self.first_position and self.positions != "sinusoidal":
            raise ValueError("first_position is for sinusoidal positions")
        return self


class ConvolutionLayer(Strict):
    """`channels` outputs of the last `kernel` positions; `residual` layers back is added, 0 for nothing."""

    channels: Size
    kernel: Size
    residual: Annotated[int, Field(ge=0)] = 1


class GatedConvolutionConfig(Strict):
    """Gated convolutions over the words so far (Dauphin et al. 2017), as fairseq's ``fconv_lm``.

    The first layer's input has that layer's channels. With `output_bias`, the map from the last layer to the
    hidden size, which exists where the two differ or there is a bias, has one.
    """

    type: Literal["gated_convolution"] = "gated_convolution"
    layers: Annotated[tuple[ConvolutionLayer, ...], Field(min_length=1, max_length=1000, strict=False)]
    output_bias: bool = False

    @model_validator(mode="after")
    def _reachable(self) -> GatedConvolutionConfig:
        for index, layer in enumerate(self.layers):
            if layer.residual > index + 1:
                raise ValueError(
                    f"layer {index} cannot add what was {layer.residual} layers back, at most {index + 1}"
                )
        return self


BodyConfig = Annotated[
    LSTMConfig | RNNConfig | TransformerConfig | TransformerXLConfig | GatedConvolutionConfig,
    Field(discriminator="type"),
]
"""Any of them."""
