"""The description of a model: what ``config.json`` holds."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Band(_Part):
    """Consecutive tail clusters that share one projection of the hidden row to `width` dimensions."""

    clusters: Size
    width: Size


class LSTMConfig(_Part):
    """A stacked LSTM; `projection` (Sak et al. 2014) is narrower than `units`, or 0 for none.

    With `residual`, each layer whose input is as wide as its output adds the two.
    """

    type: Literal["lstm"] = "lstm"
    layers: Annotated[int, Field(ge=1, le=100)]
    units: Size
    projection: Annotated[int, Field(ge=0)] = 0
    residual: bool = False

    @model_validator(mode="after")
    def _narrower(self) -> LSTMConfig:
        if self.projection >= self.units:
            raise ValueError(f"projection ({self.projection}) must be less than units ({self.units})")
        return self


class ModelConfig(_Part):
    """Sizes and layout of a word-level language model with an adaptive softmax.

    `cutoffs` are the cluster edges in ids, ascending: the short-list is ``0 .. cutoffs[0]``, cluster i is
    ``cutoffs[i] .. cutoffs[i + 1]``, the last edge is the vocabulary's size. ``cutoffs == [V]`` is a plain
    softmax. The head's columns are the short-list, then the clusters in natural order. `factor` is how the
    band widths shrink from one band to the next, where they follow such a rule.
    """

    format_version: Literal[1] = 1
    vocabulary_size: Size
    hidden_size: Size
    cutoffs: Annotated[tuple[Size, ...], Field(min_length=1, strict=False)]
    bands: Annotated[tuple[Band, ...], Field(strict=False)] = ()
    factor: Annotated[float, Field(gt=0)] | None = None
    cluster_order: Literal["natural"] = "natural"
    head_bias: bool = False
    tail_bias: bool = False
    tied: bool = True
    embedding_scale: Annotated[float, Field(gt=0)] = 1.0
    body: LSTMConfig
    unknown_word: str = "<unk>"
    end_word: str = "</s>"

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.unknown_word == self.end_word:
            raise ValueError(f"unknown_word and end_word are both {self.end_word!r}")
        if any(low >= high for low, high in pairwise(self.cutoffs)):
            raise ValueError(f"cutoffs must ascend, got {list(self.cutoffs)}")
        if self.cutoffs[-1] != self.vocabulary_size:
            raise ValueError(
                f"the last cutoff ({self.cutoffs[-1]}) must be vocabulary_size ({self.vocabulary_size})"
            )
        clusters = sum(band.clusters for band in self.bands)
        if clusters != self.n_clusters:
            raise ValueError(f"bands hold {clusters} clusters, the cutoffs make {self.n_clusters}")
        return self

    @property
    def n_clusters(self) -> int:
        """The number of tail clusters."""
        return len(self.cutoffs) - 1

    @property
    def architecture(self) -> str:
        """The kind of body."""
        return self.body.type

    @property
    def band_edges(self) -> tuple[int, ...]:
        """Word-id edges of the bands: ``cutoffs[0]`` first, the vocabulary's size last."""
        edges, cluster = [self.cutoffs[0]], 0
        for band in self.bands:
            cluster += band.clusters
            edges.append(self.cutoffs[cluster])
        return tuple(edges)
