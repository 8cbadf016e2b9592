"""LSTM bodies with the embeddings whose words they read, one for each layout of the input."""

from __future__ import annotations

from typing import Any

import torch

from models.bodies.lstm import LSTMBody
from models.config.model import ModelConfig
from models.softmax.adaptive_embedding import AdaptiveEmbedding
from models.softmax.adaptive_softmax import AdaptiveSoftmax

SIZE, WORDS, UNITS = 24, 90, 40

EMBEDDED_LSTMS: dict[str, dict[str, Any]] = {
    "tied": {"embedding_scale": 4.0},
    "untied": {"tied": False, "embedding_scale": 0.5},
    "tied projections": {"tied_projections": True},
    "no tail projections": {"tail_projections": False, "bands": [(3, SIZE)]},
    "bands of its own": {
        "tied": False,
        "input_bands": [(10, 9), (35, 17), (45, 4)],
        "input_head_projection": True,
    },
    "words without vectors": {"bands": [(2, 12), (1, 0)]},
    "plain softmax": {"cutoffs": (WORDS,), "bands": []},
    "residual": {"residual": True},
    "two layers, no projection": {"layers": 2, "projection": 0},
}


def embedded_lstm(name: str) -> tuple[LSTMBody, AdaptiveEmbedding]:
    """The body and embedding of that configuration, with random weights."""
    torch.manual_seed(1)
    options = dict(EMBEDDED_LSTMS[name])
    body = {
        "type": "lstm", "layers": options.pop("layers", 1), "units": UNITS,
        "projection": options.pop("projection", SIZE), "residual": options.pop("residual", False),
    }  # fmt: skip
    bands = [{"clusters": n, "width": width} for n, width in options.pop("bands", [(2, 12), (1, 5)])]
    inputs = options.pop("input_bands", None)
    if inputs:
        options["input_bands"] = [{"words": n, "width": width} for n, width in inputs]
    options.setdefault("cutoffs", (30, 50, 70, WORDS))
    config = ModelConfig.model_validate(
        {"vocabulary_size": WORDS, "hidden_size": SIZE, "bands": bands, "body": body, **options}
    )
    layer = LSTMBody(config.body, SIZE).eval().requires_grad_(False)  # type: ignore[arg-type]
    return layer, AdaptiveEmbedding(config, AdaptiveSoftmax(config)).requires_grad_(False)
