"""What the three published forms of Transformer-XL have in common: the architecture and its weights.

Dai et al., "Transformer-XL", ACL 2019. The forms differ in the names of weights, in the order of the head's
cluster columns, in what a text's memory holds at its start and in how many positions `same_length` lets each
position attend; each importer says which, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from models.config.bodies import Size, TransformerXLConfig
from models.config.model import Band, ModelConfig
from models.config.strict import Strict
from models.config.tokenization import Moses, Whitespace
from models.importers.base import CheckpointError
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary

_T = TypeVar("_T")

ATTENTIONS = {1: "learned relative positions", 2: "absolute positions", 3: "learned absolute positions"}


class Architecture(Strict):
    """The sizes and switches of a Transformer-XL, by our names.

    `cutoffs` end with the vocabulary's size; `factor` is `div_val`; of `tied_projections` there is one for
    the head and for each tail. `attended` is how many positions `same_length` lets a position attend.
    """

    hidden: Size
    embedding: Size
    cutoffs: Annotated[tuple[Size, ...], Field(strict=False, min_length=1)]
    factor: Size
    tied: bool
    tied_projections: Annotated[tuple[bool, ...], Field(strict=False)]
    layers: Size
    heads: Size
    head_size: Size
    inner: Size
    pre_norm: bool
    shared_biases: bool
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    memory: Annotated[int, Field(ge=0)]
    segment: Size
    attended: Size | None
    initial_memory: Literal["zeros", "empty"]
    clamp: int
    column_order: Literal["natural", "reversed"]

    @property
    def lengths_note(self) -> str:
        """What a person should know of lengths that are those of training."""
        return (
            f"The lengths are those of training (segments of {self.segment} words, memory of {self.memory});"
            " evaluation may set others in config.json, without training."
        )

    @property
    def n_tails(self) -> int:
        """How many clusters there are beside the short-list."""
        return len(self.cutoffs) - 1

    @property
    def projected(self) -> bool:
        """Whether projections lead from the hidden row to the tables' widths."""
        return self.factor > 1 or self.embedding != self.hidden

    @property
    def one_band(self) -> bool:
        """Whether all tails see the hidden row the same way."""
        return (
            self.n_tails > 0 and self.factor == 1 and (not self.projected or all(self.tied_projections[1:]))
        )

    @property
    def shares_projections(self) -> bool:
        """Whether the input's tails have the projections of the output's."""
        return self.projected and self.tied and self.n_tails > 0 and all(self.tied_projections[1:])

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of the short-list's and of each tail's vectors."""
        return tuple(self.embedding // self.factor**i for i in range(len(self.cutoffs)))


def checked(file: Path, build: Callable[[], _T]) -> _T:
    """What `build` gives; a value that pydantic refuses is a CheckpointError of one line."""
    try:
        return build()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{file}: {place + ': ' if place else ''}{first['msg']}") from None


def refuse_unknown(file: Path, attention: object, sampled: object, extended: object = 0) -> None:
    """Raises CheckpointError for settings of the original that we do not run."""
    if attention != 0:
        kind = ATTENTIONS.get(attention, "unknown") if isinstance(attention, int) else "unknown"
        raise CheckpointError(f"{file}: attn_type {attention!r} ({kind}) is not supported, only 0")
    if isinstance(sampled, int) and sampled > 0:
        raise CheckpointError(
            f"{file}: sample_softmax {sampled}: a sampled softmax has no exact probabilities"
        )
    if extended not in (0, None):
        raise CheckpointError(f"{file}: ext_len {extended!r}: an extended context is not supported, only 0")


def attended_positions(file: Path, memory: object, same_length: object) -> object:
    """How many positions `same_length` lets each attend in the original; None without it.

    Raises:
        CheckpointError: none at all.
    """
    if same_length and not memory:
        raise CheckpointError(f"{file}: with same_length and mem_len 0 no position attends any")
    return memory if same_length else None


def cutoffs(file: Path, listed: object, words: object) -> tuple[object, ...]:
    """The cutoffs with the vocabulary's size at the end, where the source leaves it out."""
    if not isinstance(listed, list | tuple):
        raise CheckpointError(f"{file}: cutoffs {listed!r} are not a list")
    return (*(cut for cut in listed if cut != words), words)


def configuration(file: Path, a: Architecture, named: SpecialWords) -> ModelConfig:
    """Our configuration. Raises CheckpointError for sizes that do not fit each other."""
    if len(a.tied_projections) != len(a.cutoffs):
        raise CheckpointError(
            f"{file}: tie_projs has {len(a.tied_projections)} entries, the cutoffs make {len(a.cutoffs)}"
        )
    if not all(a.widths):
        raise CheckpointError(f"{file}: d_embed {a.embedding} is too small for div_val {a.factor}")
    if a.hidden % 2:
        raise CheckpointError(f"{file}: d_model {a.hidden} is odd: relative positions are half sines")
    body = checked(
        file,
        lambda: TransformerXLConfig(
            layers=a.layers, heads=a.heads, head_size=a.head_size, inner=a.inner, memory=a.memory,
            segment=a.segment, attended=a.attended, initial_memory=a.initial_memory,
            clamp=a.clamp if a.clamp > 0 else None, pre_norm=a.pre_norm, shared_biases=a.shared_biases,
            norm_epsilon=a.norm_epsilon,
        ),
    )  # fmt: skip
    return checked(
        file,
        lambda: ModelConfig(
            vocabulary_size=a.cutoffs[-1], hidden_size=a.hidden, cutoffs=a.cutoffs, bands=_bands(a),
            factor=float(a.factor), head_bias=True, tail_bias=True, tail_projections=a.projected,
            head_projection=a.embedding if a.projected else None, tied=a.tied,
            tied_projections=a.shares_projections, embedding_scale=a.hidden**0.5,
            input_head_projection=a.projected, body=body, unknown_word=named.unknown, end_word=named.end,
            start_word=named.start, special_words=named.special, tokenization=named.tokenization,
        ),
    )  # fmt: skip


def _bands(a: Architecture) -> tuple[Band, ...]:
    if a.one_band:
        return (Band(clusters=a.n_tails, width=a.embedding),)
    return tuple(Band(clusters=1, width=width) for width in a.widths[1:])


def vocabulary(file: Path, words: object, size: int, lowercase: bool) -> tuple[Vocabulary, SpecialWords]:
    """The words in the order of their ids, and those of special meaning.

    WikiText-103 and its like end a text with ``<eos>``, One Billion Word with ``<S>``; a text starts after
    the same word. Text is made into words by Moses' rules where the vocabulary has their ``@-@``, else at
    white space.

    Raises:
        CheckpointError: not a list of `size` distinct words, or one without the two special ones.
    """
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
        raise CheckpointError(f"{file}: the vocabulary is not a list of words")
    if len(words) != size:
        raise CheckpointError(f"{file}: holds {len(words)} words, the model has {size}")
    known = set(words)
    unknown = next((word for word in ("<unk>", "<UNK>") if word in known), None)
    end = next((word for word in ("<eos>", "<S>") if word in known), None)
    if unknown is None or end is None:
        raise CheckpointError(
            f"{file}: has no {'<unk>' if unknown is None else '<eos>'}: the model is not one of words"
        )
    tokenization = (
        Moses(lowercase=lowercase, split_numbers="@,@" in known)
        if "@-@" in known
        else Whitespace(lowercase=lowercase)
    )
    # One Billion Word's list has a second end of sentence, which its texts never use.
    special = ("</S>",) if end == "<S>" and "</S>" in known else ()
    named = SpecialWords(unknown, end, None, special, tokenization)
    try:
        return Vocabulary.from_words(words, named), named
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from None
