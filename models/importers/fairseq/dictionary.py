"""fairseq's ``dict.txt``: a word and its count a line; four special words come before the first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.importers.base import CheckpointError

START, PADDING, END, UNKNOWN = range(4)
"""The ids of the special words."""
SPECIAL: Final = ("<s>", "<pad>", "</s>", "<unk>")
OVERWRITE: Final = "#fairseq:overwrite"
_MADE_UP: Final = re.compile(r"madeupword\d{4,}")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The words by id, all distinct; `special` ones are never predicted (`unknown` is not among them)."""

    words: tuple[str, ...]
    special: tuple[str, ...]

    @property
    def start(self) -> str:
        """The word before a text, for models that were trained with one."""
        return self.words[START]

    @property
    def end(self) -> str:
        """The end of sentence."""
        return self.words[END]

    @property
    def unknown(self) -> str:
        """The word that stands for all others."""
        return self.words[UNKNOWN]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self.words


def read_dictionary(file: Path) -> Dictionary:
    """The dictionary in `file`.

    A word that a later line declares anew (``#fairseq:overwrite``) has its last id; at its first one, which
    no text leads to any more, stands the word with that id appended. Padding to a multiple of eight
    (``madeupword0000``, never seen) is special.

    Raises:
        CheckpointError: not a dictionary, in one line that names the line.
    """
    try:
        # As fairseq splits it: only at line ends, not at the other characters that Unicode counts as such.
        with file.open(encoding="utf-8") as lines:
            entries = [_entry(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: {error}") from None
    words = list(SPECIAL)
    ids = {word: index for index, word in enumerate(words)}
    special = {START, PADDING}
    for number, (word, count, overwrite) in enumerate(entries, 1):
        if word in ids:
            if not overwrite:
                raise CheckpointError(f"{file}:{number}: {word!r} for the second time")
            words[ids[word]] = f"{word}@{ids[word]}"
            special.add(ids[word])
        if not count and _MADE_UP.fullmatch(word):
            special.add(len(words))
        ids[word] = len(words)
        words.append(word)
    if len(set(words)) != len(words):
        raise CheckpointError(f"{file}: a word is another one's name after {OVERWRITE}")
    return Dictionary(tuple(words), tuple(words[index] for index in sorted(special - {END, UNKNOWN})))


def _entry(line: str, place: str) -> tuple[str, int, bool]:
    word, _, count = line.rstrip().rpartition(" ")
    overwrite = count == OVERWRITE
    if overwrite:
        word, _, count = word.rpartition(" ")
    # int() takes more than fairseq ever writes, such as "1_000".
    if not re.fullmatch(r"-?[0-9]+", count) or not word:
        raise CheckpointError(f"{place}: not a word, a space and its count")
    return word, int(count), overwrite
