"""Words of our tokenization, second version, as running text, with spaces where a person would type them.

What is written reads as the same words again. The exceptions are sequences that no text has, such as a hyphen
between two marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from models.text.words import split, words

LONGEST_PIECE: Final = 200
"""In characters: what stands without a space may get one after so many, as a text of slashes does."""

_ATTACH_LEFT: Final = frozenset(". , ; : ! ? ) ] } % ... 's 'S \u00b0 \u2122 \u00ae \u00a9".split())
_ATTACH_RIGHT: Final = frozenset("( [ { $ # @ ~ \u00a3 \u20ac \u00a5 \u00bf \u00a1".split())
_ATTACH_BOTH: Final = frozenset("- / _ \\".split())
_QUOTES: Final = frozenset("\" ' `".split())
_DISPLAY: Final = {"--": "-"}  # a dash is typed as a hyphen between spaces
_ELISION: Final = re.compile(
    r"(?:tis|twas|twill|twere|em|im|er|til|till|cause|bout|round|n|nother|cept|[0-9]0s)\Z", re.IGNORECASE
)
_ELIDED: Final = re.compile(r"\w(?:s|in|o|th|an)\Z", re.IGNORECASE)
"""Words that an apostrophe after them may belong to: dogs', goin', wi', an'."""
_WHOLE: Final = frozenset(
    "as is was has does goes says this his hers its us yes plus versus always sometimes perhaps in begin"
    " within than can both with so to do go no who into".split()
)


def write(line: Iterable[str]) -> str:
    """The words as running text: ``["(", "Hi", "!", ")"]`` becomes ``"(Hi!)"``."""
    writer = Writer()
    return "".join(map(writer.add, line))


class Appender(Protocol):
    """Goes on with a text, word by word."""

    def add(self, word: str) -> str:
        """What the text gets for its next word: the word as it is typed, after a space if it needs one."""


class JoiningAppender:
    """An `Appender` for a tokenization that joins words in its own way.

    Args:
        join: that way.
        before: the words that stand already.
        spaced: whether white space stands after them.
    """

    def __init__(self, join: Callable[[Iterable[str]], str], before: Iterable[str], spaced: bool) -> None:
        self._join, self._words = join, list(before)
        self._text = join(self._words)
        self._spaced = spaced or not self._words

    def add(self, word: str) -> str:
        """See `Appender`."""
        self._words.append(word)
        text = self._join(self._words)
        added, self._text = text[len(self._text) :], text
        added, self._spaced = added.lstrip(" ") if self._spaced else added, False
        return added


class Writer:
    """Goes on with a text, word by word.

    Args:
        before: the text that stands already, as it was typed.
    """

    def __init__(self, before: str = "") -> None:
        self._open: set[str] = set()
        """Quotation marks that were opened and not closed."""
        self._last = ""
        self._attach = False
        """Whether the next word stands directly after the last one."""
        end = 0
        for word, start, stop in words(before):
            gap = before[end:start]
            self._note(word, spaced=end == 0 or any(map(str.isspace, gap)))
            end = stop
        self._piece = "" if before[-1:].isspace() else "".join(before.split()[-1:])
        self._words = [word for word, _, _ in split(self._piece)]

    def add(self, word: str) -> str:
        """What the text gets for its next word: the word as it is typed, after a space if it needs one."""
        text = _DISPLAY.get(word, word)
        attached = bool(self._piece) and self._attaches(word)
        self._note(word, spaced=not attached)
        if attached:
            self._piece += text
            self._words.append(word)
            return text
        space = " " if self._piece else ""
        self._piece, self._words = text, [word]
        return space + text

    def _attaches(self, word: str) -> bool:
        """Whether a word stands directly after the piece: as is usual, if both ways read as they should."""
        usual = self._usually_attaches(word) and len(self._piece) < LONGEST_PIECE
        # A hyphen is one if a letter touches it, which the next word may do.
        after = "a" if word == "-" else ""
        together = _reads(self._piece + _DISPLAY.get(word, word) + after, [*self._words, word, *after])
        apart = _reads(self._piece, self._words)
        return usual if together == apart else together

    def _usually_attaches(self, word: str) -> bool:
        attach = self._attach and (self._last != "+" or word[0].isdigit())
        if word in _QUOTES:
            return attach or word in self._open or (word == "'" and _is_elided(self._last))
        return attach or word in _ATTACH_LEFT or word in _ATTACH_BOTH

    def _note(self, word: str, spaced: bool) -> None:
        """Takes in a word and whether white space, or nothing, stands before it."""
        opening = closing = False
        if word in _QUOTES:
            opening = spaced or self._attach
            closing = word in self._open and (not opening or spaced)
            opening = opening and not closing
        elif self._last == "'" and self._attach and _ELISION.match(word):
            self._open.discard("'")
        if closing:
            self._open.discard(word)
        elif opening:
            self._open.add(word)
        self._attach = (
            opening
            or word in _ATTACH_RIGHT
            or word in _ATTACH_BOTH
            or (word == "..." and (not self._last or self._attach))  # "...and so on
            or (word == "+" and spaced and not self._last[-1:].isdigit())  # call +44
        )
        self._last = word


def _is_elided(word: str) -> bool:
    """Whether an apostrophe that stands after the word belongs to it, and does not open a quotation."""
    return bool(_ELIDED.search(word)) and word.lower() not in _WHOLE


def _reads(piece: str, expected: list[str]) -> bool:
    return [word for word, _, _ in split(piece)] == expected
