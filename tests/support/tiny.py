"""A tiny random model with peaked predictions, for tests that need no trained one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import torch

from models.bundle import Bundle
from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.config.tokenization import Ours, Tokenization
from models.language_model import LanguageModel
from models.spelling.spelling_model import SpellingModel
from models.text.tokenizer import END, UNKNOWN, SpecialWords
from models.text.vocabulary import Vocabulary

_COMMON = "the . , of and to a in is I you it Thank very much for that on with was".split()
_KINDS = (
    "'s don't I'm - -- ... \" ' ( ) [ ] ? ! : ; York york New Node.js U.S. e.g. 3.5 well known left She He"
    " caf\u00e9 \u2764 \U0001f469\u200d\U0001f680 % $ /"
).split()
_SYLLABLES = list(product("b d f g k l m n p r s t v".split(), "a e i o u".split(), "n r st ck".split()))


def tiny_words(size: int = 280) -> list[str]:
    """`size` distinct English-like words, the special ones first."""
    words = [UNKNOWN, END, *_COMMON, *("".join(parts) for parts in _SYLLABLES)]
    return list(dict.fromkeys(words))[:size]


def second_version_words(size: int = 280) -> list[str]:
    """As many, with every kind that our tokenization, second version, has."""
    return list(dict.fromkeys([UNKNOWN, END, *_COMMON, *_KINDS, *tiny_words(size)]))[:size]


def tiny_text(path: Path, lines: int) -> Path:
    """Writes lines of nine such words, drawn evenly."""
    draw = random.Random(1)
    words = [word for word in tiny_words() if word.isalpha()]
    path.write_text("\n".join(" ".join(draw.choices(words, k=9)) for _ in range(lines)))
    return path


def tiny_config(
    size: int = 280,
    cutoffs: Sequence[int] | None = None,
    bands: Sequence[tuple[int, int]] = ((3, 16), (3, 8)),
    tied: bool = True,
    layers: int = 2,
) -> ModelConfig:
    """By default 280 words: a head of 40, six tail clusters in two bands, two residual LSTM layers."""
    return ModelConfig(
        vocabulary_size=size,
        hidden_size=32,
        cutoffs=tuple(cutoffs or (40, 60, 90, 120, 160, 210, size)),
        bands=tuple(Band(clusters=clusters, width=width) for clusters, width in bands),
        tied=tied,
        embedding_scale=1.0,
        body=LSTMConfig(layers=layers, units=48, projection=32, residual=True),
    )


def tiny_model(config: ModelConfig | None = None, seed: int = 0, scale: float = 3.0) -> LanguageModel:
    """A random model whose output weights are multiplied by `scale`, so that probabilities are peaked."""
    torch.manual_seed(seed)
    model = LanguageModel(config or tiny_config(), frozenset({0})).eval().requires_grad_(False)
    model.softmax.head.mul_(scale)
    for tail in model.softmax.tails:
        tail.mul_(scale)
    return model


def tiny_bundle(
    directory: Path, config: ModelConfig | None = None, seed: int = 0, version: Literal[1, 2] = 1
) -> Path:
    """Save a tiny random model as a bundle under `directory`; returns the bundle's path, named "tiny".

    `version` is that of our tokenization; with 2 the words are `second_version_words`.
    """
    if version == 2:
        changes = {"format_version": 2, "tokenization": Ours(version=2)}
        config = ModelConfig(**(config or tiny_config()).model_dump() | changes)
    model = tiny_model(config, seed)
    path = directory / "tiny"
    words = (tiny_words if version == 1 else second_version_words)(model.config.vocabulary_size)
    vocabulary = Vocabulary.from_words(words, SpecialWords.of(model.config))
    Bundle.save(path, model, vocabulary, card="# tiny\n", dtype=torch.float32)
    return path


def tokenized_bundle(path: Path, tokenization: Tokenization) -> Path:
    """A tiny bundle whose text is split so; `Thank` is a special word of it."""
    config = ModelConfig(
        **tiny_config().model_dump() | {"tokenization": tokenization, "special_words": ("Thank",)}
    )
    words = Vocabulary.from_words(tiny_words(), SpecialWords.of(config))
    Bundle.save(path, tiny_model(config), words)
    return path


def marked_bundle(directory: Path) -> Path:
    """A tiny bundle, tokenized as new ones are, whose words are marks and words in several cases, too."""
    marks = ". , ; : ! ? ( ) [ ] \" ' - -- ... / 's".split()
    plain = [word for word in tiny_words() if word.isalpha()]
    cases = [form for word in plain[20:70] for form in (word.capitalize(), word.upper())]
    words = list(dict.fromkeys([*tiny_words()[:30], *marks, *cases, "don't", "Don't", *plain]))[:280]
    changes = {"format_version": 2, "tokenization": Ours(version=2)}
    config = ModelConfig(**tiny_config().model_dump() | changes)
    path = directory / "marked"
    model = tiny_model(config)
    # Words of equal probability: the one with the smaller id comes first.
    model.softmax.head[30:34] = model.softmax.head[30]
    model.softmax.tails[0][5:9] = model.softmax.tails[0][5]
    Bundle.save(path, model, Vocabulary.from_words(words, SpecialWords.of(config)), dtype=torch.float32)
    return path


def spelled_bundle(directory: Path) -> Path:
    """A tiny bundle, "spelled", of our tokenization's second version, with a spelling model.

    ``it`` and ``the`` are words in two cases.
    """
    changes = {"format_version": 2, "tokenization": Ours(version=2)}
    config = ModelConfig(**tiny_config().model_dump() | changes)
    words = [*second_version_words()[:-2], "It", "The"]
    vocabulary = Vocabulary.from_words(words, SpecialWords.of(config))
    counts = {"plain": 3, "plane": 2, "quick": 3, "quiz": 1, "frozen": 2, "can't": 4}
    path = directory / "spelled"
    spelling = SpellingModel.train(counts, vocabulary)
    Bundle.save(path, tiny_model(config), vocabulary, dtype=torch.float32, spelling=spelling)
    return path
