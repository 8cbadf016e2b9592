"""Make a checkpoint of the published size with random weights: ``python make_full.py OUT``, torch alone.

In Hugging Face's format and the shape of ``transfo-xl-wt103``: 18 layers, 285,205,322 parameters, 267,735
words, 1.1 GB. Then ``headfirst import transfo-xl-hf OUT BUNDLE`` tells its peak memory and counts them.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

D, HEADS, INNER, LAYERS, FACTOR = 1024, 16, 4096, 18, 4
EDGES = (0, 20_000, 40_000, 200_000, 267_735)


def random(*shape: int) -> Tensor:
    """Small enough that no layer saturates."""
    return torch.randn(shape) * 0.02


def weights() -> dict[str, Tensor]:
    """By the library's names; the tied ones once more, as in ``pytorch_model.bin``."""
    found = {}
    for i in range(LAYERS):
        attention, feed_forward = f"transformer.layers.{i}.dec_attn.", f"transformer.layers.{i}.pos_ff."
        found |= {
            f"{attention}qkv_net.weight": random(3 * D, D),
            f"{attention}r_net.weight": random(D, D),
            f"{attention}o_net.weight": random(D, D),
            f"{attention}r_r_bias": random(HEADS, D // HEADS),
            f"{attention}r_w_bias": random(HEADS, D // HEADS),
            f"{feed_forward}CoreNet.0.weight": random(INNER, D),
            f"{feed_forward}CoreNet.0.bias": random(INNER),
            f"{feed_forward}CoreNet.3.weight": random(D, INNER),
            f"{feed_forward}CoreNet.3.bias": random(D),
        }
        for part in (attention, feed_forward):
            found |= {f"{part}layer_norm.weight": 1 + random(D), f"{part}layer_norm.bias": random(D)}
    for i, (low, high) in enumerate(pairwise(EDGES)):
        table, projection = random(high - low, D // FACTOR**i), random(D, D // FACTOR**i)
        found |= {
            f"transformer.word_emb.emb_layers.{i}.weight": table,
            f"transformer.word_emb.emb_projs.{i}": projection,
            f"crit.out_layers.{i}.weight": table,
            f"crit.out_layers.{i}.bias": random(high - low),
            f"crit.out_projs.{i}": projection if i else random(D, D),
        }
    return found | {"crit.cluster_weight": random(3, D), "crit.cluster_bias": random(3)}


def main() -> None:
    """Write the three files."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "model_type": "transfo-xl", "vocab_size": EDGES[-1], "cutoffs": EDGES[1:-1], "d_model": D,
        "d_embed": D, "n_head": HEADS, "d_head": D // HEADS, "d_inner": INNER, "n_layer": LAYERS,
        "div_val": FACTOR, "mem_len": 1600, "clamp_len": 1000, "same_length": True, "untie_r": True,
        "pre_lnorm": False, "tie_projs": [False, True, True, True],
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(settings))
    words = ["<eos>", "<unk>", "@-@", "@,@", "@.@", *(f"word{i}" for i in range(EDGES[-1] - 5))]
    (out / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    torch.manual_seed(0)
    torch.save(weights(), out / "pytorch_model.bin")


if __name__ == "__main__":
    main()
