"""Hugging Face's ``transfo-xl-wt103`` in its published shape (Dai et al. 2019), random."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

FORMAT = "transfo-xl-hf"
PARAMETERS = 285_205_322
"""Published as 285.2M."""


@dataclass(frozen=True)
class Shape:
    """Sizes; the defaults are the published ones."""

    layers: int = 18
    units: int = 1024
    inner: int = 4096
    heads: int = 16
    cutoffs: tuple[int, ...] = (20_000, 40_000, 200_000, 267_735)
    factor: int = 4
    memory: int = 1600


def make(directory: Path, shape: Shape | None = None) -> None:
    """Writes ``config.json``, ``vocab.json`` and ``pytorch_model.bin``."""
    shape = shape or Shape()
    settings = {
        "model_type": "transfo-xl", "vocab_size": shape.cutoffs[-1], "cutoffs": shape.cutoffs[:-1],
        "d_model": shape.units, "d_embed": shape.units, "n_head": shape.heads,
        "d_head": shape.units // shape.heads, "d_inner": shape.inner, "n_layer": shape.layers,
        "div_val": shape.factor, "mem_len": shape.memory, "clamp_len": 1000, "same_length": True,
        "untie_r": True, "pre_lnorm": False,
        "tie_projs": [False] + [True] * (len(shape.cutoffs) - 1),
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(settings))
    words = ["<eos>", "<unk>", "@-@", "@,@", "@.@", *(f"word{i}" for i in range(shape.cutoffs[-1] - 5))]
    (directory / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    torch.manual_seed(0)
    torch.save(_weights(shape), directory / "pytorch_model.bin")


def _weights(shape: Shape) -> dict[str, Tensor]:
    """By the library's names; the tied ones once more, as in ``pytorch_model.bin``."""
    d, found = shape.units, {}
    for i in range(shape.layers):
        attention, feed_forward = f"transformer.layers.{i}.dec_attn.", f"transformer.layers.{i}.pos_ff."
        found |= {
            f"{attention}qkv_net.weight": _random(3 * d, d),
            f"{attention}r_net.weight": _random(d, d),
            f"{attention}o_net.weight": _random(d, d),
            f"{attention}r_r_bias": _random(shape.heads, d // shape.heads),
            f"{attention}r_w_bias": _random(shape.heads, d // shape.heads),
            f"{feed_forward}CoreNet.0.weight": _random(shape.inner, d),
            f"{feed_forward}CoreNet.0.bias": _random(shape.inner),
            f"{feed_forward}CoreNet.3.weight": _random(d, shape.inner),
            f"{feed_forward}CoreNet.3.bias": _random(d),
        }
        for part in (attention, feed_forward):
            found |= {f"{part}layer_norm.weight": 1 + _random(d), f"{part}layer_norm.bias": _random(d)}
    for i, (low, high) in enumerate(pairwise((0, *shape.cutoffs))):
        width = d // shape.factor**i
        table, projection = _random(high - low, width), _random(d, width)
        found |= {
            f"transformer.word_emb.emb_layers.{i}.weight": table,
            f"transformer.word_emb.emb_projs.{i}": projection,
            f"crit.out_layers.{i}.weight": table,
            f"crit.out_layers.{i}.bias": _random(high - low),
            f"crit.out_projs.{i}": projection if i else _random(d, d),
        }
    n = len(shape.cutoffs) - 1
    return found | {"crit.cluster_weight": _random(n, d), "crit.cluster_bias": _random(n)}


def _random(*size: int) -> Tensor:
    """Small enough that no layer saturates."""
    return torch.randn(size) * 0.02
