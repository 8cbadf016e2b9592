"""Words -> running text, word by word, so that the text has the same words again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

from models.text.spacing import ATTACH_BOTH, ATTACH_LEFT, ATTACH_RIGHT, DISPLAY, QUOTES
from models.text.words import words as words_of

_POSSESSIVE: Final = "'s"
_CHUNK: Final = 256
"""Characters since the last space that are looked at, at most: a text may have no space at all."""
_RECENT: Final = 32
"""Words that are joined again for each new one."""


class Joiner:
    """Goes on with a text in our tokenization's second version.

    What spacing English would have is tried first. Where it would make other words of the text (a dash that
    touches a number would be its sign), the other is taken. So the words of a text that was joined are those
    that it was joined from, whenever any text has them.
    """

    def __init__(self, text: str = "") -> None:
        """Begins after `text`, which may end within a sentence, in white space, or in an opening mark."""
        self._open: set[str] = set()
        self._last: str | None = None
        self._spaced = True
        for word in words_of(text):
            self._note(word)
        self._chunk = "" if not text or text[-1].isspace() else text.split()[-1][-_CHUNK:]
        self._spaced = not self._chunk

    def piece(self, word: str) -> str:
        """What the text goes on with for `word`: itself, with a space before it where one belongs."""
        shown = DISPLAY.get(word, word)
        if self._spaced:
            return shown
        glued, spaced = shown, " " + shown
        first, second = (glued, spaced) if self._attaches(word) else (spaced, glued)
        return first if self._keeps(word, first) or not self._keeps(word, second) else second

    def add(self, word: str) -> str:
        """`piece`, after which the text goes on."""
        piece = self.piece(word)
        shown = piece.lstrip(" ")
        self._chunk = (shown if piece != shown else self._chunk + shown)[-_CHUNK:]
        self._spaced = False
        self._note(word)
        return piece

    def _attaches(self, word: str) -> bool:
        """Whether a person would type no space before `word`."""
        last = self._last
        if word == "-" and last is not None:
            return unicodedata.category(last[-1])[0] in "LMN"
        if last in ATTACH_RIGHT or last in ATTACH_BOTH or (last in QUOTES and last in self._open):
            return True
        return word in ATTACH_LEFT or word in ATTACH_BOTH or word in self._open or word == _POSSESSIVE

    def _keeps(self, word: str, piece: str) -> bool:
        """Whether the words stay what they are if the text goes on with `piece`."""
        if piece.startswith(" "):
            return word == "-" or words_of(piece[1:]) == [word]
        before, after = words_of(self._chunk), words_of(self._chunk + piece)
        if before[-1:] == ["--"] and self._last == "-":
            before[-1] = "-"  # A hyphen that nothing touches yet.
        if after == [*before, word]:
            return True
        return word == "-" and after == [*before, "--"]  # The next word may touch it.

    def _note(self, word: str) -> None:
        self._last = word
        if word in QUOTES:
            self._open ^= {word}


class Rendered:
    """Goes on with words that another tokenization joins as a whole; see `Joiner`.

    Args:
        join: words -> running text.
        words: those that the text has.
        glue: whether it ends in white space, so that the next word needs none before it.
    """

    def __init__(self, join: Callable[[Sequence[str]], str], words: Sequence[str], glue: bool) -> None:
        self._join = join
        # Of the words before, what matters is which quotations they leave open.
        older, recent = words[:-_RECENT], words[-_RECENT:]
        self._words = [*(mark for mark in sorted(QUOTES) if older.count(mark) % 2), *recent]
        self._text = join(self._words)
        self._glue = glue or not self._text

    def piece(self, word: str) -> str:
        """See `Joiner.piece`."""
        joined = self._join([*self._words, word])
        # A word that would change what is written already stands for itself.
        added = joined[len(self._text) :] if joined.startswith(self._text) else " " + self._join([word])
        return added.lstrip(" ") if self._glue else added

    def add(self, word: str) -> str:
        """See `Joiner.add`."""
        piece = self.piece(word)
        self._words.append(word)
        self._text = self._join(self._words)
        self._glue = False
        return piece


def join(words: Sequence[str]) -> str:
    """`words` as running text; see `Joiner`."""
    joiner = Joiner()
    return "".join([joiner.add(word) for word in words])
