"""The words of a checkpoint by id, as scripts keep them: a list, a pickled dictionary, or the texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.importers.base import CheckpointError
from models.importers.pickles.checkpoint import attributes

TEXTS: Final = ("train.txt", "valid.txt", "test.txt")
"""In the order in which `Corpus` of PyTorch's word_language_model, and its forks, number their words."""


def read_words(file: Path) -> list[str]:
    """Words by id: one a line, or a JSON list. Raises CheckpointError."""
    try:
        text = file.read_text(encoding="utf-8")
        words = json.loads(text) if file.suffix == ".json" else text.removesuffix("\n").split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: {error}") from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CheckpointError(f"{file}: is not a list of words")
    words = [word.removesuffix("\r") for word in words]
    seen: dict[str, int] = {}
    for line, word in enumerate(words, 1):
        if not word:
            raise CheckpointError(f"{file}: word {line} is empty")
        if seen.setdefault(word, line) != line:
            raise CheckpointError(f"{file}: word {line}, {word!r}, is word {seen[word]}, too")
    return words


def dictionary_words(dictionary: object, file: Path) -> list[str]:
    """The words of a pickled `Dictionary` (``idx2word``) in `file`. Raises CheckpointError."""
    words = attributes(dictionary).get("idx2word")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CheckpointError(f"{file}: holds no dictionary with idx2word")
    return words


def words_of_texts(files: Sequence[Path], end: str) -> list[str]:
    """Words between white space in the order of their first appearance, `end` after each line.

    Raises:
        CheckpointError: a text cannot be read, or is not UTF-8.
    """
    found: dict[str, None] = {}
    for file in files:
        try:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    found.update(dict.fromkeys([*line.split(), end]))
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{file}: {error}") from None
    return [*found]
