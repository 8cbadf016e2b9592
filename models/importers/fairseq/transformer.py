"""fairseq's ``transformer_lm`` in our terms; sizes are read off the weights and compared with the options."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from models.config.bodies import TransformerConfig
from models.config.model import InputBand, ModelConfig
from models.importers.base import CheckpointError, Weights
from models.importers.fairseq.options import FairseqOptions
from models.importers.fairseq.softmax import InputTables, Output, read_output

PADDING: Final = 1
"""The padding word's id: positions are counted from the next one on."""
MAX_POSITIONS: Final = 1024
"""fairseq's own, where no option says more."""
MAX_LAYERS: Final = 1000
_ACTIVATIONS: Final = {"relu": "relu", "gelu": "gelu", "gelu_accurate": "gelu_tanh", "gelu_fast": "gelu_tanh"}
_OLD_NORMS: Final = {"self_attn_layer_norm": "layer_norms.0", "final_layer_norm": "layer_norms.2"}


def transformer(options: FairseqOptions, weights: Weights) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration, without its words, and our weights; unknown ones stay in `weights`.

    Raises:
        CheckpointError: an option or a weight that does not fit the rest, or is not supported.
    """
    body, ours = _body(options, weights)
    inputs = _inputs(options, weights, body.units)
    tie = options.flag("tie_adaptive_proj") or options.values.get("no_tie_adaptive_proj") is False
    if "decoder.embed_out" in weights:
        weights.rename("decoder.embed_out", "decoder.output_projection.weight")
    output = read_output(weights, options, inputs, tie)
    if "decoder.project_out_dim.weight" in weights:
        ours["body.to_hidden.weight"] = weights.take(
            "decoder.project_out_dim.weight", output.hidden_size, body.units
        )
    elif output.hidden_size != body.units:
        raise CheckpointError(
            f"{options.file}: the output layer reads {output.hidden_size} dimensions, the last layer has"
            f" {body.units}"
        )
    ours |= output.weights | _embedding(inputs, output)
    config = ModelConfig(
        vocabulary_size=inputs.vocabulary_size,
        hidden_size=output.hidden_size,
        cutoffs=output.cutoffs,
        bands=output.bands,
        factor=output.factor,
        head_projection=output.head_projection,
        tied=output.tied,
        tied_projections=output.tied_projections,
        embedding_size=body.units if body.units != output.hidden_size else None,
        embedding_scale=1.0 if options.flag("no_scale_embedding") else math.sqrt(body.units),
        input_bands=None
        if output.tied
        else tuple(InputBand(words=len(table), width=table.shape[1]) for table in inputs.tables),
        input_head_projection=inputs.projections[0] is not None,
        body=body,
    )
    return config, ours


def _body(options: FairseqOptions, weights: Weights) -> tuple[TransformerConfig, dict[str, Tensor]]:
    weights.drop(
        "decoder.embed_positions._float_tensor",
        "decoder.embed_positions.weights",
        "decoder.embed_tokens._float_tensor",
    )
    layers = 1 + max((_layer_number(name) for name in weights), default=-1)
    if not layers:
        raise CheckpointError(f"{options.file}: has no weights decoder.layers.0")
    if layers > MAX_LAYERS:
        raise CheckpointError(f"{options.file}: names weights of layer {layers - 1}")
    for layer in range(layers):
        _modernize(weights, f"decoder.layers.{layer}")
    (units,) = weights.shape("decoder.layers.0.self_attn_layer_norm.weight")
    inner = weights.shape("decoder.layers.0.fc1.weight")[0]
    for name, found in (
        ("decoder_layers", layers),
        ("decoder_embed_dim", units),
        ("decoder_ffn_embed_dim", inner),
    ):
        options.expect(name, found)
    heads = options.number("decoder_attention_heads")
    if heads is None or units % heads:
        raise CheckpointError(f"{options.file}: option decoder_attention_heads is {heads}, of {units} units")
    activation = options.values.get("activation_fn") or "relu"
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise options.refuse("activation_fn")
    ours: dict[str, Tensor] = {}
    for layer in range(layers):
        ours |= _layer(weights, f"decoder.layers.{layer}", f"body.layers.{layer}", units, inner)
    # An architecture by another name than the family's sets it and ignores the option.
    pre_norm = options.flag("decoder_normalize_before", default=True) or options.arch != "transformer_lm"
    final_norm = _final_norm(options, weights) and pre_norm
    if final_norm:
        ours |= _norm(weights, "decoder.layer_norm", "body.final_norm", units)
    embedding_norm = options.flag("layernorm_embedding")
    if embedding_norm:
        ours |= _norm(weights, "decoder.layernorm_embedding", "body.embedding_norm", units)
    window = options.number("max_target_positions") or options.number("tokens_per_sample") or MAX_POSITIONS
    positions = "learned" if options.flag("decoder_learned_pos") else "sinusoidal"
    if options.flag("no_token_positional_embeddings"):
        positions = "none"
    elif positions == "learned":
        table = weights.take("decoder.embed_positions.weight", window + PADDING + 1, units)
        ours["body.positions"] = table[PADDING + 1 :]
    body = TransformerConfig.model_validate(
        {
            "layers": layers,
            "units": units,
            "heads": heads,
            "inner": inner,
            "activation": _ACTIVATIONS[activation],
            "pre_norm": pre_norm,
            "final_norm": final_norm,
            "embedding_norm": embedding_norm,
            "positions": positions,
            "first_position": PADDING + 1 if positions == "sinusoidal" else 0,
            "window": window,
            "overlap": window // 2,
        }
    )
    return body, ours


def _final_norm(options: FairseqOptions, weights: Weights) -> bool:
    """Whether there is a norm behind the last layer; three generations of options say so."""
    version = float(weights.take("decoder.version", 1)[0]) if "decoder.version" in weights else 1.0
    without = options.flag("no_decoder_final_norm")
    if "no_tie_adaptive_proj" in options.values:  # where this option exists, the other was not yet there
        without = True
    if "decoder_final_norm" in options.values:
        without = not options.flag("decoder_final_norm")
    return not without and version > 2


def _layer_number(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["decoder", "layers"] and parts[2].isdecimal() else -1


def _modernize(weights: Weights, layer: str) -> None:
    """Gives the norms of checkpoints from before 2019 their later names."""
    for new, old in _OLD_NORMS.items():
        for part in ("weight", "bias"):
            if f"{layer}.{old}.{part}" in weights:
                weights.rename(f"{layer}.{old}.{part}", f"{layer}.{new}.{part}")


def _layer(weights: Weights, theirs: str, ours: str, units: int, inner: int) -> dict[str, Tensor]:
    attention = f"{theirs}.self_attn"
    if f"{attention}.in_proj_weight" in weights:
        fused = weights.take(f"{attention}.in_proj_weight", 3 * units, units)
        biases = weights.take(f"{attention}.in_proj_bias", 3 * units)
    else:
        fused = torch.cat([weights.take(f"{attention}.{x}_proj.weight", units, units) for x in "qkv"])
        biases = torch.cat([weights.take(f"{attention}.{x}_proj.bias", units) for x in "qkv"])
    return {
        f"{ours}.queries_keys_values.weight": fused,
        f"{ours}.queries_keys_values.bias": biases,
        f"{ours}.attended.weight": weights.take(f"{attention}.out_proj.weight", units, units),
        f"{ours}.attended.bias": weights.take(f"{attention}.out_proj.bias", units),
        f"{ours}.inner.weight": weights.take(f"{theirs}.fc1.weight", inner, units),
        f"{ours}.inner.bias": weights.take(f"{theirs}.fc1.bias", inner),
        f"{ours}.outer.weight": weights.take(f"{theirs}.fc2.weight", units, inner),
        f"{ours}.outer.bias": weights.take(f"{theirs}.fc2.bias", units),
        **_norm(weights, f"{theirs}.self_attn_layer_norm", f"{ours}.attention_norm", units),
        **_norm(weights, f"{theirs}.final_layer_norm", f"{ours}.inner_norm", units),
    }


def _norm(weights: Weights, theirs: str, ours: str, units: int) -> dict[str, Tensor]:
    return {f"{ours}.{part}": weights.take(f"{theirs}.{part}", units) for part in ("weight", "bias")}


def _inputs(options: FairseqOptions, weights: Weights, units: int) -> InputTables:
    """The input's tables and projections, adaptive or plain."""
    if options.flag("adaptive_input"):
        tables: list[Tensor] = []
        projections: list[Tensor] = []
        while (prefix := f"decoder.embed_tokens.embeddings.{len(tables)}") + ".0.weight" in weights:
            table = weights.take(f"{prefix}.0.weight", None, None)
            tables.append(table)
            projections.append(weights.take(f"{prefix}.1.weight", units, table.shape[1]))
        if not tables:
            raise CheckpointError(
                f"{options.file}: option adaptive_input is on, its weights have no adaptive input"
            )
        return InputTables(tables, projections)
    if options.values.get("quant_noise_pq"):  # puts a layer behind a plain embedding
        raise options.refuse("quant_noise_pq")
    table = weights.take("decoder.embed_tokens.weight", None, None)
    if table.shape[1] == units:
        return InputTables([table], [None])
    return InputTables([table], [weights.take("decoder.project_in_dim.weight", units, table.shape[1])])


def _embedding(inputs: InputTables, output: Output) -> dict[str, Tensor]:
    """The input's weights, as far as they are not the output layer's."""
    ours: dict[str, Tensor] = {}
    first, *projections = inputs.projections
    if first is not None:
        ours["embedding.head_projection"] = first
    if not output.tied_projections:
        for band, projection in enumerate(projections):
            assert projection is not None  # noqa: S101 -- only a single table can be without
            ours[f"embedding.projections.{band}"] = projection
    if not output.tied:
        ours["embedding.head"] = inputs.tables[0]
        for band, table in enumerate(inputs.tables[1:]):
            ours[f"embedding.tails.{band}"] = table
    return ours
