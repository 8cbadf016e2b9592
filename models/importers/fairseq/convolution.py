"""fairseq's ``fconv_lm`` in our terms. Its layers stand in an expression, which is parsed, never run."""

from __future__ import annotations

import ast
from typing import Final

import torch
from torch import Tensor

from models.config.bodies import ConvolutionLayer, GatedConvolutionConfig
from models.config.model import InputBand, ModelConfig
from models.importers.base import CheckpointError, Weights
from models.importers.fairseq.options import FairseqOptions
from models.importers.fairseq.softmax import PREFIX, InputTables, Output, read_output

DEFAULT_LAYERS: Final = "[(1268, 4)] * 13"
MAX_LAYERS: Final = 1000
MAX_CHARACTERS: Final = 10_000


def convolution(options: FairseqOptions, weights: Weights) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration, without its words, and our weights; unknown ones stay in `weights`.

    Raises:
        CheckpointError: an option or a weight that does not fit the rest, or is not supported.
    """
    if options.values.get("decoder_attention") not in (None, False, "False"):
        raise options.refuse("decoder_attention")  # A language model has no encoder to attend to.
    layers = _layers(options)
    weights.drop("decoder.version")
    table = weights.take("decoder.embed_tokens.weight", None, None)
    options.expect("decoder_embed_dim", table.shape[1])
    widths = [layers[0].channels, *(layer.channels for layer in layers)]
    ours = _linear(weights, "decoder.fc1", "body.from_vectors", widths[0], table.shape[1])
    for index, layer in enumerate(layers):
        name = f"decoder.convolutions.{index}"
        kernel = _folded(weights, name, layer.kernel, widths[index], 2 * layer.channels)
        # theirs: (kernel, inputs, outputs)
        ours[f"body.convolutions.{index}.weight"] = kernel.permute(2, 1, 0)
        ours[f"body.convolutions.{index}.bias"] = weights.take(f"{name}.bias", 2 * layer.channels)
        added = widths[index + 1 - layer.residual] if layer.residual else layer.channels
        if added != layer.channels:
            target = f"body.residuals.{index}"
            ours |= _linear(weights, f"decoder.projections.{index}", target, layer.channels, added)
            ours[f"{target}.weight"] = ours[f"{target}.weight"][:, :, None]
    output = _output(options, weights, table, widths[-1])
    ours |= output.weights | {"embedding.head": table}
    config = ModelConfig(
        vocabulary_size=len(table),
        hidden_size=output.hidden_size,
        cutoffs=output.cutoffs,
        bands=output.bands,
        factor=output.factor,
        head_bias=output.head_bias,
        tied=False,
        embedding_size=table.shape[1],
        input_bands=(InputBand(words=len(table), width=table.shape[1]),),
        body=GatedConvolutionConfig(layers=tuple(layers), output_bias=output.head_bias),
    )
    return config, ours


def _output(options: FairseqOptions, weights: Weights, table: Tensor, channels: int) -> Output:
    """The adaptive softmax on the last layer; or a map, then a softmax with biases over all words."""
    if f"{PREFIX}.head.weight" in weights:
        output = read_output(weights, options, InputTables([table], [None]), tied_projections=False)
        if output.hidden_size != channels:
            raise CheckpointError(
                f"{options.file}: the output layer reads {output.hidden_size} dimensions,"
                f" the last layer has {channels}"
            )
        return output
    rows = weights.shape("decoder.fc2.weight_v")[0]
    ours = _linear(weights, "decoder.fc2", "body.to_hidden", rows, channels)
    ours |= {
        "softmax.head": _folded(weights, "decoder.fc3", len(table), rows),
        "softmax.head_bias": weights.take("decoder.fc3.bias", len(table)),
    }
    return Output(rows, (len(table),), head_bias=True, weights=ours)


def _linear(weights: Weights, theirs: str, ours: str, rows: int, columns: int) -> dict[str, Tensor]:
    return {
        f"{ours}.weight": _folded(weights, theirs, rows, columns),
        f"{ours}.bias": weights.take(f"{theirs}.bias", rows),
    }


def _folded(weights: Weights, name: str, *shape: int) -> Tensor:
    """The weight that weight normalization (Salimans & Kingma 2016, equation 2) makes: g v / ||v||.

    There is one g for each index of the dimensions in which `weight_g` is longer than 1.
    """
    v = weights.take(f"{name}.weight_v", *shape)
    g = weights.take(f"{name}.weight_g", *(None for _ in shape))
    if any(length not in (1, full) for length, full in zip(g.shape, shape, strict=True)):
        raise CheckpointError(f"{name}.weight_g has shape {list(g.shape)}, its weight_v {list(shape)}")
    normed = [dim for dim, length in enumerate(g.shape) if length == 1]
    norms = torch.linalg.vector_norm(v.float(), dim=normed, keepdim=True) if normed else v.float().abs()
    return v.float() * (g.float() / norms)


# -- the expression ------------------------------------------------------------------------------------


def _layers(options: FairseqOptions) -> list[ConvolutionLayer]:
    text = options.values.get("decoder_layers", DEFAULT_LAYERS)
    try:
        if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
            raise ValueError
        layers = _value(ast.parse(text.strip(), mode="eval").body)
        if not layers:
            raise ValueError
        return [_layer(*layer, index=index) for index, layer in enumerate(layers)]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise CheckpointError(
            f"{options.file}: option decoder_layers is {str(text)[:100]!r}, not a list such as"
            f" [(512, 5)] + [(128, 1, 0)] * 3"
        ) from None


def _layer(channels: int, kernel: int, residual: int = 1, *, index: int) -> ConvolutionLayer:
    if residual > index + 1:
        raise ValueError
    return ConvolutionLayer(channels=channels, kernel=kernel, residual=residual)


def _value(node: ast.expr) -> list[tuple[int, ...]]:
    """list := '[' tuples ']' | list '+' list | list '*' number | number '*' list."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _value(left) + _value(right)
        case ast.BinOp(left=ast.Constant(value=times), op=ast.Mult(), right=repeated):
            found = _repeat(_value(repeated), times)
        case ast.BinOp(left=repeated, op=ast.Mult(), right=ast.Constant(value=times)):
            found = _repeat(_value(repeated), times)
        case _:
            found = ast.literal_eval(node)
            if not isinstance(found, list) or not all(isinstance(layer, tuple) for layer in found):
                raise ValueError
    if len(found) > MAX_LAYERS:
        raise ValueError
    return found


def _repeat(layers: list[tuple[int, ...]], times: object) -> list[tuple[int, ...]]:
    if not isinstance(times, int) or isinstance(times, bool) or not 0 <= times <= MAX_LAYERS:
        raise ValueError
    return layers * times
