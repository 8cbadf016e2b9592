"""fairseq's ``transformer_lm.wiki103.adaptive`` in its published shape (Baevski & Auli 2019), random."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

FORMAT = "fairseq"
PARAMETERS = 246_933_504
"""Published as 247M."""


@dataclass(frozen=True)
class Shape:
    """Sizes; the defaults are the published ones."""

    layers: int = 16
    units: int = 1024
    inner: int = 4096
    heads: int = 8
    cutoffs: tuple[int, ...] = (20_000, 60_000, 267_744)
    factor: int = 4
    window: int = 3072


def make(directory: Path, shape: Shape | None = None) -> None:
    """Writes ``model.pt`` and ``dict.txt`` in the published archive's form: tied tensors share storage."""
    shape = shape or Shape()
    torch.manual_seed(0)
    torch.save({"args": _args(shape), "model": _weights(shape)}, directory / "model.pt")
    words = shape.cutoffs[-1] - 4
    lines = (f"word{index} {words - index}\n" for index in range(words))
    (directory / "dict.txt").write_text("".join(lines))


def _args(shape: Shape) -> Namespace:
    cutoffs = ",".join(map(str, shape.cutoffs[:-1]))
    yes = (
        "adaptive_input decoder_normalize_before no_decoder_final_norm tie_adaptive_proj tie_adaptive_weights"
    ).split()
    no = (
        "add_bos_token decoder_learned_pos no_token_positional_embeddings share_decoder_input_output_embed"
    ).split()
    return Namespace(
        arch="transformer_lm_wiki103",
        task="language_modeling",
        activation_fn="relu",
        decoder_attention_heads=shape.heads,
        decoder_ffn_embed_dim=shape.inner,
        decoder_layers=shape.layers,
        tokens_per_sample=shape.window,
        **dict.fromkeys(yes, True),
        **dict.fromkeys(no, False),
        **dict.fromkeys(("adaptive_input_cutoff", "adaptive_softmax_cutoff"), cutoffs),
        **dict.fromkeys(("adaptive_input_factor", "adaptive_softmax_factor"), shape.factor),
        **dict.fromkeys(("decoder_embed_dim", "decoder_input_dim", "decoder_output_dim"), shape.units),
    )


def _weights(shape: Shape) -> dict[str, Tensor]:
    units, inner = shape.units, shape.inner
    state = {"decoder.version": torch.tensor([3.0])}
    embeddings = "decoder.embed_tokens.embeddings"
    softmax = "decoder.adaptive_softmax"
    for band, (low, high) in enumerate(pairwise((0, *shape.cutoffs))):
        width = units // shape.factor**band
        table = state[f"{embeddings}.{band}.0.weight"] = torch.randn(high - low, width) * width**-0.5
        projection = state[f"{embeddings}.{band}.1.weight"] = torch.randn(units, width) * width**-0.5
        if band:
            state[f"{softmax}.tail.{band - 1}.0.weight"] = projection
            state[f"{softmax}.tail.{band - 1}.2.weight"] = table
        else:
            state[f"{softmax}.head.word_proj.weight"] = table
    state[f"{softmax}.head.class_proj.weight"] = torch.randn(len(shape.cutoffs) - 1, units) * units**-0.5
    for layer in range(shape.layers):
        name = f"decoder.layers.{layer}"
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            state |= {f"{name}.{norm}.weight": torch.ones(units), f"{name}.{norm}.bias": torch.zeros(units)}
        for part, rows, columns in (
            *((f"self_attn.{x}_proj", units, units) for x in ("q", "k", "v", "out")),
            ("fc1", inner, units),
            ("fc2", units, inner),
        ):
            state[f"{name}.{part}.weight"] = torch.randn(rows, columns) * columns**-0.5
            state[f"{name}.{part}.bias"] = torch.zeros(rows)
    return state
