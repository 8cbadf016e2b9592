"""A spelling model from text, and how well it spells words that it has not seen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from models.config.tokenization import Tokenization
from models.spelling.spelling_model import SpellingModel
from models.text.vocabulary import Vocabulary
from models.training.corpus import UNKNOWN_WORDS, characters, is_held_out, lines
from models.training.unknown_words import UnknownWords


def unknown_words(
    files: Iterable[Path],
    vocabulary: Vocabulary,
    tokenization: Tokenization,
    holdout_every: int,
    on_line: Callable[[int], None] = lambda _: None,
) -> UnknownWords:
    """The words of text files that `vocabulary` lacks; one non-empty line of `holdout_every` is held out.

    `on_line` hears of the characters of each line read, for progress.

    Raises:
        CorpusError: a file cannot be read.
    """
    counts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    length = 0
    for file in files:
        for i, line in enumerate(lines(file)):
            heldout = is_held_out(i, holdout_every)
            counts[heldout].update(word for word in vocabulary.normalized(line) if word not in vocabulary)
            length += characters(line, tokenization) if heldout else 0
            on_line(len(line))
    return UnknownWords(dict(counts[False]), dict(counts[True]), length)


def spelling_of_corpus(directory: Path, vocabulary: Vocabulary) -> tuple[SpellingModel | None, UnknownWords]:
    """The spelling model of the corpus that `models.training.corpus.prepare` left in `directory`.

    None where the vocabulary has every word of the text to train on. Also the unknown words, to measure it.
    """
    unknown = UnknownWords.load(directory / UNKNOWN_WORDS)
    return (SpellingModel.train(unknown.train, vocabulary) if unknown.train else None), unknown


def log_probability(spelling: SpellingModel, words: Mapping[str, int]) -> float:
    """That of all of `words`, each as often as it is counted, in nats, given that they are unknown ones."""
    found = spelling.logprob(list(words))
    return math.fsum(count * logprob for count, logprob in zip(words.values(), found, strict=True))


def bits_per_character(spelling: SpellingModel, words: Mapping[str, int]) -> float:
    """The mean cost of a character of `words`, each with its end as one more; nan without words."""
    length = sum(count * (len(word) + 1) for word, count in words.items())
    return -log_probability(spelling, words) / length / math.log(2) if length else math.nan
