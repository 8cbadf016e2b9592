"""The output layers that can be trained, as fields of a `ModelConfig`: the paper's, and those it compares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy.typing as npt

from models.config.model import Band, InputBand, OutputBand
from models.training.clusters.cutoffs import equal_mass_cutoffs
from models.training.layer import Layer


def layer_fields(
    layer: Layer,
    counts: npt.ArrayLike,
    hidden_size: int,
    cutoffs: Sequence[int],
    bands: Sequence[Band],
    clusters: int | None = None,
) -> dict[str, Any]:
    """Fields of a `ModelConfig`.

    Args:
        layer: which.
        counts: (V,) occurrences of the words, for the tree.
        hidden_size: d.
        cutoffs: of the adaptive softmax, whose short-list and `bands` the differentiated ones have, too.
        bands: of the same.
        clusters: leaves of the tree; by default the square root of the vocabulary's size.

    Raises:
        ValueError: slices that leave nothing of the hidden row for the frequent words.
    """
    size = cutoffs[-1]
    if layer is Layer.ADAPTIVE:
        return {"cutoffs": tuple(cutoffs), "bands": tuple(bands)}
    if layer is Layer.FULL:
        return {"cutoffs": (size,)}
    if layer is Layer.TREE:
        edges = equal_mass_cutoffs(counts, clusters or isqrt(size))
        leaves = (Band(clusters=len(edges) - 1, width=hidden_size),)
        return {"cutoffs": edges, "bands": leaves, "tail_projections": False}
    slices = layer is Layer.DIFFERENTIATED
    first = hidden_size - sum(band.width for band in bands) if slices else hidden_size
    if first < 1:
        raise ValueError(f"slices for the bands leave nothing of the {hidden_size} dimensions for the others")
    ends, at = [cutoffs[0]], 0
    for band in bands:
        at += band.clusters
        ends.append(cutoffs[at])
    words = [high - low for low, high in pairwise([0, *ends])]
    widths = [band.width for band in bands]
    return {
        "cutoffs": (size,),
        "output": "differentiated",
        "output_slices": slices,
        "output_bands": tuple(
            OutputBand(words=n, width=w) for n, w in zip(words, [first, *widths], strict=True)
        ),
        "tied": False,
        "input_bands": tuple(
            InputBand(words=n, width=w) for n, w in zip(words, [hidden_size, *widths], strict=True)
        ),
    }
