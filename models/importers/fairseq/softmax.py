"""fairseq's output layers in our terms: its adaptive softmax, tied to adaptive inputs or not; a plain one.

The clusters' columns have the natural order. `tail.i.0` projects the hidden row, `tail.i.2` holds the words.
Tied, `tail.i.0.weight` is the input's projection (d, width) and used transposed; otherwise it is a linear
map's weight (width, d). Nothing but the options tells the two apart where width and d are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

from models.config.model import Band
from models.importers.base import CheckpointError, Weights
from models.importers.fairseq.options import FairseqOptions

PREFIX: Final = "decoder.adaptive_softmax"


@dataclass(frozen=True, slots=True)
class InputTables:
    """The input's tables (words, width) by band and their projections (size, width), None for none."""

    tables: Sequence[Tensor]
    projections: Sequence[Tensor | None]

    @property
    def vocabulary_size(self) -> int:
        """Words in all tables."""
        return sum(map(len, self.tables))


@dataclass(slots=True)
class Output:
    """An output layer: the fields of `ModelConfig` by their names, the weights by ours, its `clusters`."""

    hidden_size: int
    cutoffs: tuple[int, ...]
    clusters: int = 0
    bands: tuple[Band, ...] = ()
    factor: float | None = None
    head_projection: int | None = None
    head_bias: bool = False
    tied: bool = False
    tied_projections: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict)


def read_output(
    weights: Weights, options: FairseqOptions, inputs: InputTables, tied_projections: bool
) -> Output:
    """The output layer among `weights`.

    Raises:
        CheckpointError: weights that do not fit each other or the options.
    """
    weights.drop(f"{PREFIX}.version", f"{PREFIX}.head._float_tensor")
    tied = f"{PREFIX}.head.class_proj.weight" in weights
    if not tied and f"{PREFIX}.head.weight" not in weights:
        return _plain(weights, options, inputs)
    if tied != options.flag("tie_adaptive_weights"):
        raise CheckpointError(f"{options.file}: option tie_adaptive_weights does not fit the weights")
    output = _tied_head(weights, options, inputs) if tied else _own_head(weights)
    output.tied_projections = tied and tied_projections
    sizes, bands = [output.cutoffs[0]], []
    for band in range(output.clusters):
        name = f"{PREFIX}.tail.{band}"
        words = weights.take(f"{name}.2.weight", None, None)
        if tied:
            _check_same(options, f"{name}.2.weight", words, inputs.tables, band + 1)
        shape = (output.hidden_size, words.shape[1])
        if output.tied_projections:
            projection = weights.take(f"{name}.0.weight", *shape)
            _check_same(options, f"{name}.0.weight", projection, inputs.projections, band + 1)
            projection = projection.T
        else:
            projection = weights.take(f"{name}.0.weight", *reversed(shape))
        output.weights[f"softmax.projections.{band}"] = projection
        output.weights[f"softmax.tails.{band}"] = words
        sizes.append(len(words))
        bands.append(Band(clusters=1, width=words.shape[1]))
    output.cutoffs = tuple(accumulate(sizes))
    output.bands = tuple(bands)
    output.factor = _factor(options, output)
    if output.cutoffs[-1] != inputs.vocabulary_size:
        raise CheckpointError(
            f"{options.file}: {inputs.vocabulary_size} words are read, {output.cutoffs[-1]} are predicted"
        )
    return output


def _tied_head(weights: Weights, options: FairseqOptions, inputs: InputTables) -> Output:
    clusters = weights.take(f"{PREFIX}.head.class_proj.weight", None, None)
    hidden_size = clusters.shape[1]
    projected = f"{PREFIX}.head.word_proj.0.weight" in weights
    name = f"{PREFIX}.head.word_proj{'.1' if projected else ''}.weight"
    words = weights.take(name, None, None)
    _check_same(options, name, words, inputs.tables, 0)
    output = Output(hidden_size, (len(words),), len(clusters), tied=True)
    if projected:
        output.head_projection = words.shape[1]
        output.weights["softmax.head_projection"] = weights.take(
            f"{PREFIX}.head.word_proj.0.weight", words.shape[1], hidden_size
        )
        output.weights["softmax.head"] = words
        output.weights["softmax.clusters"] = clusters
    elif words.shape[1] != hidden_size:
        raise CheckpointError(f"{options.file}: {name} has {words.shape[1]} columns, not {hidden_size}")
    else:
        output.weights["softmax.head"] = torch.cat([words, clusters])
    return output


def _own_head(weights: Weights) -> Output:
    head = weights.take(f"{PREFIX}.head.weight", None, None)
    clusters = 0
    while f"{PREFIX}.tail.{clusters}.2.weight" in weights:
        clusters += 1
    return Output(head.shape[1], (len(head) - clusters,), clusters, weights={"softmax.head": head})


def _plain(weights: Weights, options: FairseqOptions, inputs: InputTables) -> Output:
    """A softmax over all words: one cutoff."""
    if options.values.get("adaptive_softmax_cutoff") is not None and options.arch.startswith("transformer"):
        raise CheckpointError(
            f"{options.file}: option adaptive_softmax_cutoff is given, its weights have no adaptive softmax"
        )
    size = inputs.vocabulary_size
    tied = options.flag("share_decoder_input_output_embed")
    if tied and "decoder.output_projection.weight" not in weights:
        head = inputs.tables[0]
    else:
        head = weights.take("decoder.output_projection.weight", size, None)
        if tied:
            _check_same(options, "decoder.output_projection.weight", head, inputs.tables, 0)
    return Output(head.shape[1], (size,), tied=tied, weights={"softmax.head": head})


def _check_same(
    options: FairseqOptions, name: str, found: Tensor, inputs: Sequence[Tensor | None], band: int
) -> None:
    """Raises CheckpointError unless the weight that is tied to the input's is the same."""
    expected = inputs[band] if band < len(inputs) else None
    if expected is None or not torch.equal(found, expected):
        raise CheckpointError(f"{options.file}: {name} is tied to the input's but differs from it")


def _factor(options: FairseqOptions, output: Output) -> float | None:
    """By what the widths shrink, if they do as the option says: at once, or in old versions after a band."""
    factor = options.values.get("adaptive_softmax_factor", 4)
    if not isinstance(factor, int | float) or not 0 < factor < output.cutoffs[-1]:
        return None
    width = output.head_projection or output.hidden_size
    for first in (1, 0):
        widths = [int(width // factor ** (band + first)) for band in range(len(output.bands))]
        if widths and widths == [band.width for band in output.bands]:
            return float(factor)
    return None
