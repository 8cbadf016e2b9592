"""The weights of a Transformer-XL by our names, from those of the original's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from models.importers.base import CheckpointError, Weights
from models.importers.transfo_xl.architecture import Architecture


def drop_copies(tensors: dict[str, object], architecture: Architecture, file: Path) -> None:
    """Leave out the second names of tied tensors; raises CheckpointError where the two differ."""
    tables = range(1 if architecture.factor == 1 else len(architecture.cutoffs)) if architecture.tied else ()
    pairs = [(f"crit.out_layers.{i}.weight", f"word_emb.emb_layers.{i}.weight") for i in tables]
    for i, tied in enumerate(architecture.tied_projections):
        if tied:
            source = 0 if architecture.factor == 1 else i
            pairs.append((f"crit.out_projs.{i}", f"word_emb.emb_projs.{source}"))
    for copy, source_name in pairs:
        one, other = tensors.get(copy), tensors.get(source_name)
        if one is None:
            continue
        if not (isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)):
            raise CheckpointError(f"{file}: {copy} and {source_name} differ, which the configuration ties")
        del tensors[copy]


def convert_weights(weights: Weights, a: Architecture) -> dict[str, Tensor]:
    """`LanguageModel`'s weights of those with the original's names, which are all taken.

    Raises:
        CheckpointError: one is missing, of another shape or left over.
    """
    weights.drop("pos_emb.inv_freq")
    found = _layers(weights, a)
    inputs = _tables(weights, a, "word_emb.emb_layers.{}.weight")
    outputs = inputs if a.tied else _tables(weights, a, "crit.out_layers.{}.weight")
    biases = _tables(weights, a, "crit.out_layers.{}.bias", widths=False)
    columns, column_bias = inputs[0].new_zeros(0, a.embedding), inputs[0].new_zeros(0)
    if a.n_tails:
        columns = weights.take("crit.cluster_weight", a.n_tails, a.embedding)
        column_bias = weights.take("crit.cluster_bias", a.n_tails)
        if a.column_order == "reversed":
            columns, column_bias = columns.flip(0), column_bias.flip(0)
    found["softmax.head_bias"] = torch.cat([biases[0], column_bias])
    if a.projected:
        found |= _projections(weights, a, columns)
        found["softmax.head"] = outputs[0]
    else:
        found["softmax.head"] = torch.cat([outputs[0], columns])
    for band, table in enumerate(outputs[1:]):
        found[f"softmax.tails.{band}"] = table
    for band, bias in enumerate(biases[1:]):
        found[f"softmax.tail_biases.{band}"] = bias
    if not a.tied:
        found["embedding.head"] = inputs[0]
        for band, table in enumerate(inputs[1:]):
            found[f"embedding.tails.{band}"] = table
    weights.finish()
    return found


def _layers(weights: Weights, a: Architecture) -> dict[str, Tensor]:
    d, width = a.hidden, a.heads * a.head_size
    found = {}
    for i in range(a.layers):
        for theirs, ours, shape in (
            ("dec_attn.qkv_net.weight", "attention.qkv.weight", (3 * width, d)),
            ("dec_attn.r_net.weight", "attention.positions.weight", (width, d)),
            ("dec_attn.o_net.weight", "attention.out.weight", (d, width)),
            ("dec_attn.layer_norm.weight", "attention_norm.weight", (d,)),
            ("dec_attn.layer_norm.bias", "attention_norm.bias", (d,)),
            ("pos_ff.CoreNet.0.weight", "inner.weight", (a.inner, d)),
            ("pos_ff.CoreNet.0.bias", "inner.bias", (a.inner,)),
            ("pos_ff.CoreNet.3.weight", "outer.weight", (d, a.inner)),
            ("pos_ff.CoreNet.3.bias", "outer.bias", (d,)),
            ("pos_ff.layer_norm.weight", "feed_forward_norm.weight", (d,)),
            ("pos_ff.layer_norm.bias", "feed_forward_norm.bias", (d,)),
        ):
            found[f"body.layers.{i}.{ours}"] = weights.take(f"layers.{i}.{theirs}", *shape)
        if not a.shared_biases:
            for theirs, ours in (("r_w_bias", "content_bias"), ("r_r_bias", "position_bias")):
                taken = weights.take(f"layers.{i}.dec_attn.{theirs}", a.heads, a.head_size)
                found[f"body.layers.{i}.attention.{ours}"] = taken
    if a.shared_biases:
        found["body.content_bias"] = weights.take("r_w_bias", a.heads, a.head_size)
        found["body.position_bias"] = weights.take("r_r_bias", a.heads, a.head_size)
    return found


def _tables(weights: Weights, a: Architecture, name: str, widths: bool = True) -> list[Tensor]:
    """A table (words, width) or a bias (words) of the short-list and of each band."""
    edges = (0, *a.cutoffs)
    if a.factor == 1:
        whole = weights.take(name.format(0), a.cutoffs[-1], *([a.embedding] if widths else []))
        bands = (0, a.cutoffs[0], a.cutoffs[-1]) if a.one_band else edges
        return [whole[low:high] for low, high in pairwise(bands)]
    return [
        weights.take(name.format(i), high - low, *([width] if widths else []))
        for i, ((low, high), width) in enumerate(zip(pairwise(edges), a.widths, strict=True))
    ]


def _projections(weights: Weights, a: Architecture, columns: Tensor) -> dict[str, Tensor]:
    d, found = a.hidden, {}
    kept = 1 if a.factor == 1 else len(a.cutoffs)
    inputs = [weights.take(f"word_emb.emb_projs.{i}", d, a.widths[i]) for i in range(kept)]
    # What is shared there and not here needs memory of its own.
    inputs += [inputs[0].clone() for _ in a.cutoffs[kept:]]
    outputs = [
        own.clone() if tied else weights.take(f"crit.out_projs.{i}", d, width)
        for i, (tied, own, width) in enumerate(zip(a.tied_projections, inputs, a.widths, strict=True))
    ]
    found["softmax.head_projection"] = outputs[0].T
    found["softmax.clusters"] = (columns.double() @ outputs[0].double().T).to(columns.dtype)
    bands = 1 if a.one_band else a.n_tails
    for band in range(bands):
        found[f"softmax.projections.{band}"] = outputs[band + 1].T
        if not a.shares_projections:
            found[f"embedding.projections.{band}"] = inputs[band + 1]
    found["embedding.head_projection"] = inputs[0]
    return found
