"""Models whose words have all their vectors in one table, as recurrent ones of PyTorch's examples have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from models.config.model import InputBand
from models.importers.base import CheckpointError, Weights


def encoder_of(weights: Weights, file: Path, words: Sequence[str], words_file: Path) -> Tensor:
    """``encoder.weight``, (V, d). Raises CheckpointError where it is of other words than these."""
    encoder = weights.take("encoder.weight", None, None)
    if encoder.shape[0] != len(words):
        raise CheckpointError(
            f"{words_file}: has {len(words)} words, {file.name} was trained on {encoder.shape[0]}"
        )
    return encoder


def one_table(encoder: Tensor, tied: bool) -> dict[str, Any]:
    """The fields of `ModelConfig` for words whose vectors (V, d) are in one table, or the softmax's."""
    words, width = encoder.shape
    bands = None if tied else (InputBand(words=words, width=width),)
    return {"tail_projections": False, "tied": tied, "embedding_size": width, "input_bands": bands}
