"""Our tokenization, second version: folded text -> words, numbers, abbreviations, emoji and single marks.

Each rule looks at neighboring characters alone, never across white space. So the words of two texts with
white space between them are those of the one and then those of the other, wherever a text is cut.

* A hyphen that a letter or digit touches is ``-``: ``well-known`` is ``well``, ``-``, ``known``. Any other
  hyphen, a run of them, and every dash is ``--``.
* Of clitics ``'s`` alone is a word of its own: ``plumber``, ``'s``. ``don't`` and ``I'm`` are one word.
* A full stop within a word belongs to it where no sentence can begin after it: ``Node.js``, ``3.5``,
  ``U.S.``. In ``left.She`` it is a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import regex

from models.text.folding import DASH, ELLIPSIS, EMOJI, fold

LONGEST: Final = 4096
"""In characters: of a longer text the words are found one by one, so that other threads run meanwhile."""


class Piece(NamedTuple):
    """A word, and where the characters that were typed for it stand in the text."""

    word: str
    start: int
    end: int


def _pattern(letter: str, upper: str, lower: str, digit: str, dash: str, first: str = "") -> str:
    """The rules with these classes of characters, `first` before all of them."""
    w = f"[{letter}{digit}]"
    full_stop = (
        rf"\.(?=[{lower}{digit}])"  # Node.js, 3.5
        rf"|(?<=(?<!{w})[{letter}])\.(?=[{upper}](?!{w}))"  # U.S.A
        rf"|(?<=[{upper}][{upper}])\.(?=[{upper}][{upper}])"  # ASP.NET
    )
    return first + "|".join(
        [
            rf"(?P<dash>{dash}|(?<!{w})-(?!{w}))",
            rf"\.\.\.|{ELLIPSIS}",
            rf"(?<=\S)'[sS](?!{w})|'[sS](?!{w}|')",
            rf"(?:[{letter}]\.){{2,}}(?:(?![{letter}])|(?=[{upper}][{lower}]))",  # U.S., e.g., p.m.
            rf"[{letter}](?:\+\+|#)(?!{w})",  # C++, F#
            # don't, rock'n'roll, AT&T; 1,000, 12:30
            rf"{w}+(?:(?:(?!'[sS](?!{w}))['&]|{full_stop}|(?<=[{digit}])[,:](?=[{digit}])){w}+)*",
            r"\S",  # any other mark, one at a time
        ]
    )


_PLAIN: Final = re.compile(_pattern("A-Za-z", "A-Z", "a-z", "0-9", "--+"))
_FULL: Final = regex.compile(
    _pattern(r"\p{L}\p{M}", r"\p{Lu}\p{Lt}", r"\p{Ll}", r"\p{N}", rf"[-{DASH}]{{2,}}|{DASH}", f"{EMOJI}|")
)


def words(text: str) -> list[str]:
    """The words of `text`."""
    if text.isascii() and text.isprintable() and "`" not in text:
        if "-" not in text and len(text) <= LONGEST:
            return [match[0] for match in _PLAIN.finditer(text)]
        return [_word(match) for match in _PLAIN.finditer(text)]
    return [_word(match) for match in _FULL.finditer(fold(text).text)]


def pieces(text: str) -> Iterator[Piece]:
    """The words of `text` with their places, in order."""
    folded = fold(text)
    pattern = _PLAIN if folded.text.isascii() and folded.text.isprintable() else _FULL
    for match in pattern.finditer(folded.text):  # type: re.Match[str] | regex.Match[str]
        first, last = match.span()
        yield Piece(_word(match), folded.starts[first], folded.ends[last - 1])


def _word(match: re.Match[str] | regex.Match[str]) -> str:
    if match["dash"]:
        return "--"
    word: str = match[0]
    return "..." if word == ELLIPSIS else word
