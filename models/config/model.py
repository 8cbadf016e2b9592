"""The description of a model: what ``config.json`` holds."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from models.config.bodies import BodyConfig, LSTMConfig, RNNConfig, Size
from models.config.quantization import QuantizationConfig
from models.config.spelling import SpellingConfig
from models.config.strict import Strict
from models.config.tokenization import Ours, Tokenization

_VERSION_2: Final = ("spelling", "quantization")
"""Optional parts that format version 1 does not know."""


class Band(Strict):
    """Consecutive tail clusters that share one projection of the hidden row to `width` dimensions.

    Of width 0 their words have no vectors: those of one cluster are equally likely, but for a bias.
    """

    clusters: Size
    width: Annotated[int, Field(ge=0)]


class InputBand(Strict):
    """Consecutive words whose input vectors have `width` dimensions, in one table."""

    words: Size
    width: Size


class OutputBand(Strict):
    """Consecutive words of a differentiated softmax whose output vectors have `width` dimensions."""

    words: Size
    width: Size


class ModelConfig(Strict):
    """Sizes and layout of a word-level language model with an adaptive softmax.

    `cutoffs` are the cluster edges in ids, ascending: the short-list is ``0 .. cutoffs[0]``, cluster i is
    ``cutoffs[i] .. cutoffs[i + 1]``, the last edge is the vocabulary's size. ``cutoffs == [V]`` is a plain
    softmax. The head's columns are the short-list, then the clusters in natural order. `factor` is how the
    band widths shrink from one band to the next, where they follow such a rule.

    An empty short-list (``cutoffs[0] == 0``) is a two-level tree: every word is in a cluster. With `output`
    ``differentiated`` (cutoffs ``[V]``, not tied) all words share one normalization, but those of each of
    `output_bands` see their own slice of the hidden row, or with `output_slices` false a projection of it to
    their width (the first band all of it); see `models.softmax.differentiated_softmax`.

    Output layer. Without `tail_projections` each band is as wide as the hidden row, which no projection
    touches. `head_projection` is the width of the short-list's vectors where the row is projected to it
    first: ``logits = (h P0^T) W0^T``; the clusters' columns see the row itself (an importer multiplies the
    projection into them where a format has it otherwise).

    Input. The body reads vectors of `embedding_size` dimensions, by default `hidden_size`. With `tied`, the
    tables are the softmax's; with `tied_projections` its tail projections are the input's, too, transposed.
    Without, the input has tables of its own in the softmax's bands, or in `input_bands`. The vectors of all
    bands but the first are projected to `embedding_size` (those of the softmax's bands only with
    `tail_projections`), those of the first with `input_head_projection`.

    Words. A text starts after `start_word` (None: after `end_word`). `special_words`, like `unknown_word`,
    are never predicted. `tokenization` is how text becomes words.

    Optional parts, of format version 2: `spelling`, a model of the words that the vocabulary lacks;
    `quantization`, which weights have 8 bits.
    """

    format_version: Literal[1, 2] = 1
    vocabulary_size: Size
    hidden_size: Size
    cutoffs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, strict=False)]
    bands: Annotated[tuple[Band, ...], Field(strict=False)] = ()
    factor: Annotated[float, Field(gt=0)] | None = None
    cluster_order: Literal["natural"] = "natural"
    head_bias: bool = False
    tail_bias: bool = False
    tail_projections: bool = True
    head_projection: Size | None = None
    output: Literal["adaptive", "differentiated"] = "adaptive"
    output_bands: Annotated[tuple[OutputBand, ...], Field(strict=False)] = ()
    output_slices: bool = True
    tied: bool = True
    tied_projections: bool = False
    embedding_size: Size | None = None
    embedding_scale: Annotated[float, Field(gt=0)] = 1.0
    input_bands: Annotated[tuple[InputBand, ...], Field(min_length=1, strict=False)] | None = None
    input_head_projection: bool = False
    body: BodyConfig
    unknown_word: str = "<unk>"
    end_word: str = "</s>"
    start_word: str | None = None
    special_words: Annotated[tuple[str, ...], Field(strict=False)] = ()
    tokenization: Tokenization = Ours()
    spelling: SpellingConfig | None = None
    quantization: QuantizationConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.unknown_word == self.end_word:
            raise ValueError(f"unknown_word and end_word are both {self.end_word!r}")
        if self.end_word in self.special_words:
            raise ValueError(f"end_word {self.end_word!r} must not be one of special_words")
        for part in _VERSION_2:
            if self.format_version == 1 and getattr(self, part) is not None:
                raise ValueError(f"{part} is a part of format_version 2")
        if self.quantization is not None and not isinstance(self.body, LSTMConfig):
            raise ValueError(f"quantization is for bodies of type lstm, this is {self.body.type}")
        if self.format_version == 1 and self.tokenization == Ours(version=2):
            raise ValueError("version 2 of the tokenization needs format_version 2")
        if any(low >= high for low, high in pairwise(self.cutoffs)):
            raise ValueError(f"cutoffs must ascend, got {list(self.cutoffs)}")
        if self.cutoffs[-1] != self.vocabulary_size:
            raise ValueError(
                f"the last cutoff ({self.cutoffs[-1]}) must be vocabulary_size ({self.vocabulary_size})"
            )
        clusters = sum(band.clusters for band in self.bands)
        if clusters != self.n_clusters:
            raise ValueError(f"bands hold {clusters} clusters, the cutoffs make {self.n_clusters}")
        if isinstance(self.body, RNNConfig) and self.body.units != self.hidden_size:
            raise ValueError(f"the body's units ({self.body.units}) must be hidden_size ({self.hidden_size})")
        self._check_widths()
        self._check_output()
        return self

    def _check_output(self) -> None:
        widths = [band.width for band in self.output_bands]
        if self.output == "adaptive":
            if widths:
                raise ValueError("output_bands are for output differentiated")
            return
        if self.n_clusters or self.tied or self.head_projection is not None:
            raise ValueError("output differentiated has no clusters or head_projection, and is not tied")
        words = sum(band.words for band in self.output_bands)
        if words != self.vocabulary_size:
            raise ValueError(f"output_bands hold {words} words, vocabulary_size is {self.vocabulary_size}")
        if self.output_slices and sum(widths) != self.hidden_size:
            raise ValueError(f"the slices are {sum(widths)} wide, hidden_size is {self.hidden_size}")
        if not self.output_slices and widths[0] != self.hidden_size:
            raise ValueError(f"the first of output_bands must be hidden_size ({self.hidden_size}) wide")

    def _check_widths(self) -> None:
        if not self.tail_projections:
            if any(band.width != self.hidden_size for band in self.bands):
                raise ValueError(
                    f"without tail_projections every band must be hidden_size ({self.hidden_size}) wide"
                )
            if self.head_projection is not None:
                raise ValueError("head_projection needs tail_projections")
        if self.tied_projections and not (self.tied and self.tail_projections):
            raise ValueError("tied_projections needs tied and tail_projections")
        if self.tied_projections and self.input_size != self.hidden_size:
            raise ValueError(
                f"tied_projections needs embedding_size ({self.input_size}) to be hidden_size"
                f" ({self.hidden_size})"
            )
        if self.input_bands is not None:
            if self.tied:
                raise ValueError("input_bands are for models that are not tied")
            words = sum(band.words for band in self.input_bands)
            if words != self.vocabulary_size:
                raise ValueError(f"input_bands hold {words} words, vocabulary_size is {self.vocabulary_size}")
        for band, (width, projected) in enumerate(zip(self.input_widths, self.input_projected, strict=True)):
            if not projected and width != self.input_size:
                raise ValueError(
                    f"the vectors of input band {band} are {width} wide, not embedding_size"
                    f" ({self.input_size}), and nothing projects them"
                )

    @property
    def n_clusters(self) -> int:
        """The number of tail clusters."""
        return len(self.cutoffs) - 1

    @property
    def architecture(self) -> str:
        """The kind of body."""
        return self.body.type

    def with_spelling(self, spelling: SpellingConfig | None) -> ModelConfig:
        """The same with another spelling model, or with none; in version 1 as long as that can say it."""
        return self._with("spelling", spelling)

    def with_quantization(self, quantization: QuantizationConfig) -> ModelConfig:
        """The same with weights of 8 bits. Raises ValueError for a body that has none."""
        return ModelConfig.model_validate(dict(self._with("quantization", quantization)))

    def _with(self, part: str, value: Strict | None) -> ModelConfig:
        changed = self.model_copy(update={part: value})
        first = changed.tokenization != Ours(version=2) and all(
            getattr(changed, name) is None for name in _VERSION_2
        )
        return changed.model_copy(update={"format_version": 1 if first else 2})

    def to_json(self) -> str:
        """What ``config.json`` holds; version 1 without the parts that it does not know."""
        left_out: dict[str, bool | set[str]] = {}
        if self.format_version == 1:
            left_out = {"tokenization": {"version"}, **dict.fromkeys(_VERSION_2, True)}
        return self.model_dump_json(indent=2, exclude=left_out) + "\n"

    @property
    def band_edges(self) -> tuple[int, ...]:
        """Word-id edges of the bands: ``cutoffs[0]`` first, the vocabulary's size last."""
        edges, cluster = [self.cutoffs[0]], 0
        for band in self.bands:
            cluster += band.clusters
            edges.append(self.cutoffs[cluster])
        return tuple(edges)

    @property
    def head_width(self) -> int:
        """Dimensions of the short-list's output vectors."""
        return self.head_projection or self.hidden_size

    @property
    def input_size(self) -> int:
        """Dimensions of the vectors that the body reads."""
        return self.embedding_size or self.hidden_size

    @property
    def input_edges(self) -> tuple[int, ...]:
        """Ends, in ids, of the input's bands: the first band's, ..., the vocabulary's size."""
        if self.input_bands is None:
            return self.band_edges
        return tuple(accumulate(band.words for band in self.input_bands))

    @property
    def input_widths(self) -> tuple[int, ...]:
        """Dimensions of the input's tables, one a band."""
        if self.input_bands is not None:
            return tuple(band.width for band in self.input_bands)
        first = self.head_width if self.tied or self.input_head_projection else self.input_size
        return first, *(band.width for band in self.bands)

    @property
    def input_projected(self) -> tuple[bool, ...]:
        """Whether a projection of its own leads from each of the input's tables to `embedding_size`."""
        others = self.input_bands is not None or self.tail_projections
        return self.input_head_projection, *(others,) * (len(self.input_edges) - 1)
