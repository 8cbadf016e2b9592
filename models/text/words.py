r"""Our tokenization, second version: the words of a text, and where they stand in it.

Nothing looks across white space: a text is split there first, and each chunk has the same tokens wherever it
stands. Within a chunk

1. an emoji is one token, however many code points it has (`models.text.emoji`);
2. the rest is folded: look-alikes become one character, invisible ones are left out (`models.text.folding`);
3. words are found by one pattern (`_TOKEN`) over the kinds of its characters.

``docs/text.md`` has the rules for readers, with examples that are tested.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from models.text.emoji import EMOJI, emoji_name
from models.text.folding import fold

LONGEST_REMEMBERED: Final = 40
REMEMBERED: Final = 1 << 15
"""Chunks, of at most so many characters, whose tokens are remembered: in 12 MB when there are as many."""


class Piece(NamedTuple):
    """A token of a text: the model's own word for it, and its place, ``[start, end)`` in code points."""

    word: str
    start: int
    end: int


# The pattern reads kinds: ASCII stands for itself, any other capital for B, any other letter for b, any other
# digit for 0, a combining mark for \u0300, a control character for a space, and any other mark but dashes and
# the ellipsis for *.
_W = "[A-Za-z0-9\u0300]"
_L = "[A-Za-z]"
_CLITIC = rf"'[sS](?!{_W})"
_DOT = "|".join(
    [
        r"\.(?=[a-z])",  # Node.js, example.com
        r"(?<=[0-9])\.(?=[0-9])",  # 3.5
        rf"(?<!{_W}{_W})(?<={_L})\.(?=[0-9])",  # X.509
        # U.S, ASP.NET; but not the I of OK.I
        rf"(?<=[A-Z])\.(?!(?<={_W}{_W}\.)[AI](?!{_W}))(?=[A-Z][A-Z0-9]*(?!{_W}))",
    ]
)
"""A full stop that does not end a sentence, within a word."""

_TOKEN: Final = re.compile(
    "|".join(
        [
            "\\*\u0300+",  # a mark under combining marks
            r"(?P<ellipsis>[.\u2026]{2,}|\u2026)",
            r"(?P<range>(?<=[0-9])\u2013(?=[0-9]))",  # 5-7
            r"(?P<dash>[-\u2013\u2014]{2,}|[\u2013\u2014])",
            rf"(?<={_W})-|-(?={_W})",
            r"(?P<alone>-)",
            _CLITIC,
            # U.S., e.g., p.m.; with a word after it whose space is missing, too
            rf"(?:{_L}\.){{2,}}(?!{_L}(?!{_L}))|(?:[a-z]\.){{2,}}(?=[A-Z])",
            rf"[A-Z][a-z]{{1,4}}\.[B-HJ-Z]\.?(?!{_W})",  # Ph.D.
            rf"[BDM]\.(?:Com|Ed|Eng|Phil|Sc|Tech)\.?(?!{_W})",  # M.Sc.
            rf"{_L}(?:\+\+|#)(?!{_W})",  # C++, F#
            # don't, rock'n'roll, AT&T; 1,000, 12:30
            rf"{_W}+(?:(?!{_CLITIC})['&]{_W}+|(?:{_DOT}){_W}+|(?<=[0-9])[,:](?=[0-9]){_W}+)*",
            r"\S",  # any other mark, one at a time
        ]
    )
)
_NAMES: Final = {"ellipsis": "...", "range": "-", "dash": "--", "alone": "--"}
_ACCENT: Final = re.compile(rf"(?<={_W})`(?={_W})")
_MARKED: Final = re.compile("[^A-Za-z0-9\u0300 ]\u0300+")
_KINDS: Final = {"L": "b", "M": "\u0300", "N": "0"}
_chunks: Final = re.compile(r"\S+").finditer


class _Kinds(dict[int, str]):
    """The kind of a character by code point, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Cc":
            kind = " "
        elif category in ("Lu", "Lt"):
            kind = "B"
        else:
            kind = _KINDS.get(category[0], "*")
        if len(self) < 1 << 16:
            self[code] = kind
        return kind


_kinds: Final = _Kinds({code: chr(code) for code in [*range(32, 127), 0x2013, 0x2014, 0x2026]})


def words(text: str) -> list[str]:
    """The tokens of a text, in order."""
    return [word for chunk in text.split() for word, _, _ in split(chunk)]


def pieces(text: str) -> Iterator[Piece]:
    """The tokens of a text with their places, in order."""
    for chunk in _chunks(text):
        at = chunk.start()
        for word, start, end in split(chunk[0]):
            yield Piece(word, at + start, at + end)


def split(chunk: str) -> tuple[Piece, ...]:
    """The tokens of a chunk of text without white space."""
    return _remembered(chunk) if len(chunk) <= LONGEST_REMEMBERED else split_once(chunk)


def split_once(chunk: str) -> tuple[Piece, ...]:
    """`split` for callers that remember what they make of it themselves."""
    if chunk.isascii():
        return tuple(_found(chunk, chunk if chunk.isprintable() else chunk.translate(_kinds)))
    out: list[Piece] = []
    at = 0
    for emoji in EMOJI.finditer(chunk):
        out += _part(chunk, at, emoji.start())
        at = emoji.end()
        out.append(Piece(emoji_name(emoji[0]), emoji.start(), at))
    out += _part(chunk, at, len(chunk))
    return tuple(out)


_remembered = lru_cache(REMEMBERED)(split_once)


def _part(chunk: str, begin: int, end: int) -> Iterator[Piece]:
    text, starts, ends = fold(chunk[begin:end])
    kinds = text.translate(_kinds)
    if "\u0300" in kinds:
        kinds = _MARKED.sub(lambda found: "*" + found[0][1:], kinds)
    for word, start, stop in _found(text, kinds):
        yield Piece(word, begin + starts[start], begin + ends[stop - 1])


def _found(text: str, kinds: str) -> Iterator[Piece]:
    if "`" in kinds and (apostrophes := _ACCENT.sub("'", kinds)) != kinds:
        text = "".join(
            "'" if old != new else char for char, old, new in zip(text, kinds, apostrophes, strict=True)
        )
        kinds = apostrophes
    for found in _TOKEN.finditer(kinds):
        start, end = found.span()
        name = found.lastgroup
        yield Piece(text[start:end] if name is None else _NAMES[name], start, end)
