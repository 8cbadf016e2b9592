"""The output layers that are compared, and how large everything is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.config.bodies import LSTMConfig
from models.config.model import Band, InputBand, ModelConfig
from models.training.clusters.cutoffs import geometric_cutoffs
from models.training.layer import Layer
from models.training.output_layers import layer_fields
from models.training.trainer import TrainingOptions

SWEEP = (1, 4, 16, 200)

SHAPES = ((64, 4000), (128, 1000), (128, 2000), (200, 1000), (200, 2500), (200, 4000))
"""Clusters in shared bands and words of the head, beside those of the table and the sweep."""

WIDE = ((200, 2000),)
"""The same, with words of the tail as wide as the head's up to the rank where two large clusters begin."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Sizes of a report."""

    name: str
    vocabulary_size: int
    hidden_size: int
    units: int
    shortlist: int
    edge: int  # rank up to which words of the tail are wide
    options: TrainingOptions
    samples: int
    heldout_words: int

    @property
    def widths(self) -> tuple[int, int]:
        """Of the two bands of the tail."""
        return self.hidden_size // 4, self.hidden_size // 16


SMALL = Setting(
    name="small",
    vocabulary_size=44_000,
    hidden_size=128,
    units=256,
    shortlist=4000,
    edge=15_000,
    options=TrainingOptions(
        steps=1000,
        rows=64,
        window=16,
        optimizer="adagrad",
        learning_rate=0.1,
        warmup=100,
        cooldown=0.5,
        from_frequencies=True,
        precision="bfloat16",
        validate_every=10**9,
        checkpoint_every=100,
    ),
    samples=2048,
    heldout_words=20_000,
)

FULL = replace(
    SMALL,
    name="full",
    hidden_size=512,
    units=512,
    options=replace(
        SMALL.options,
        steps=9000,
        rows=128,
        window=20,
        warmup=500,
        cooldown=0.4,
        dropout=0.2,
        checkpoint_every=1000,
    ),
    samples=8192,
    heldout_words=10**9,
)


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table.

    Attributes:
        key: its name in files.
        title: for a person.
        paper: perplexity and minutes on Text8 in the paper, if it is there.
        sampled: words drawn a step.
        clusters: tail clusters in shared bands; 0: see `layer`.
        shortlist: words of the head; 0: the setting's, beside clusters in shared bands half of it.
        two: two large clusters, each a band of its own.
        planned: clusters whose edges the planner chose, each a band of its own.
        wide: of shared bands a third, as wide as the hidden row, up to the setting's short-list.
    """

    key: str
    title: str
    layer: Layer
    paper: tuple[int, int] | None = None
    sampled: bool = False
    clusters: int = 0
    shortlist: int = 0
    two: bool = False
    planned: int = 0
    wide: bool = False


TABLE = (
    Method("full", "full softmax", Layer.FULL, (144, 83)),
    Method("sampled", "importance sampling", Layer.FULL, (166, 41), sampled=True),
    Method("tree", "two-level tree by frequency (HSM)", Layer.TREE, (166, 34)),
    Method("differentiated", "differentiated (D-softmax)", Layer.DIFFERENTIATED, (195, 53)),
    Method("projected", "differentiated, projections", Layer.PROJECTED, (147, 54)),
    Method("adaptive", "adaptive", Layer.ADAPTIVE, (147, 30), planned=2),
    Method("adaptive-64", "adaptive, 64 small clusters in 2 bands", Layer.ADAPTIVE, clusters=64),
)
CURVE = tuple(
    Method(f"adaptive-{n}", f"adaptive, {n} clusters in shared bands", Layer.ADAPTIVE, clusters=n)
    for n in SWEEP
)
SHAPED = (
    Method("adaptive-two", "adaptive, 2 large clusters", Layer.ADAPTIVE, two=True),
    Method("adaptive-two-2000", "adaptive, 2 large, head 2,000", Layer.ADAPTIVE, shortlist=2000, two=True),
    Method("adaptive-planned-4", "adaptive, 4 clusters", Layer.ADAPTIVE, planned=4),
    *(
        Method(f"adaptive-{n}-{head}", f"adaptive, {n} clusters, head {head:,}", Layer.ADAPTIVE,
               clusters=n, shortlist=head)
        for n, head in SHAPES
    ),
    *(
        Method(f"adaptive-{n}-{head}-wide", f"adaptive, {n} clusters, head {head:,}, a wide band",
               Layer.ADAPTIVE, clusters=n, shortlist=head, wide=True)
        for n, head in WIDE
    ),
)  # fmt: skip


def config(method: Method, setting: Setting, counts: npt.ArrayLike, planned: Sequence[int]) -> ModelConfig:
    """The model of a method: all have the same LSTM, the same input, adaptive and not tied to the output, and
    a bias for each word.

    `planned` are the cutoffs of the method that needs them, with a projection for each cluster.
    """
    size, d = setting.vocabulary_size, setting.hidden_size
    wide, narrow = setting.widths
    two = (setting.shortlist, setting.edge, size)
    two_bands = (Band(clusters=1, width=wide), Band(clusters=1, width=narrow))
    fields: dict[str, Any]
    if method.clusters:
        edges = geometric_cutoffs(size, method.shortlist or setting.shortlist // 2, method.clusters)
        ends = [*([setting.shortlist] if method.wide else []), setting.edge, size]
        upto = [0, *(sum(edge <= end for edge in edges[1:]) for end in ends)]
        parts = zip(np.diff(upto).tolist(), (d, wide, narrow)[-len(ends) :], strict=True)
        fields = {"cutoffs": edges, "bands": tuple(Band(clusters=n, width=w) for n, w in parts if n)}
    elif method.two:
        fields = {"cutoffs": (method.shortlist or two[0], *two[1:]), "bands": two_bands}
    elif method.planned:
        own = tuple(Band(clusters=1, width=max(4, d // 4 ** (i + 1))) for i in range(len(planned) - 1))
        fields = {"cutoffs": tuple(planned), "bands": own}
    else:
        fields = layer_fields(method.layer, counts, d, two, two_bands)
    words = (setting.shortlist, setting.edge - setting.shortlist, size - setting.edge)
    inputs = tuple(InputBand(words=n, width=w) for n, w in zip(words, (d, wide, narrow), strict=True))
    return ModelConfig(
        vocabulary_size=size,
        head_bias=True,
        tail_bias=len(fields["cutoffs"]) > 1,
        hidden_size=d,
        body=LSTMConfig(layers=1, units=setting.units),
        **{**fields, "tied": False, "input_bands": inputs},
    )
