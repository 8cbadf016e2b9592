"""Where tokens stand in their text, for tokenizers that do not say it, or not exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from models.text.words import Piece

_MARKS: Final = {"@-@": "-", "@,@": ",", "@.@": "."}
_BLANK: Final = (
    "".join(map(chr, [*range(0x21), *range(0x7F, 0xA1), 0xAD, *range(0x2000, 0x200C)]))
    + "\u1680\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""What the first version makes white space of, or nothing."""
_HYPHENS: Final = re.compile("[\u2013\u2014]|-+")


def align(text: str, words: Iterable[str]) -> Iterator[Piece]:
    """`words` with their places, their characters being those of `text` in the same order.

    Characters of the text that no word has are passed over; ``@-@`` stands for the hyphen of a compound
    unless the text has it as it is. A word that is not in the text gets an empty place.
    """
    at = 0
    for word in words:
        typed = word
        if word in _MARKS:
            mark, whole = text.find(_MARKS[word], at), text.find(word, at)
            typed = word if 0 <= whole < mark else _MARKS[word]
        start, end = -1, at
        for char in typed:
            found = text.find(char, end)
            if found < 0:
                break
            start, end = (found if start < 0 else start), found + 1
        start = at if start < 0 else start
        yield Piece(word, start, end)
        at = end


def place_dashes(text: str, words: Sequence[Piece]) -> list[Piece]:
    """Tokens of our first version with places that cover every character of `text` but white space.

    The library that finds them gives a dash the white space around it, and a letter the first only of the
    characters that it was composed of.
    """
    out: list[Piece] = []
    dashes: list[int] = []
    end = 0
    for word, start, stop in [*words, Piece("", len(text), len(text))]:
        if word == "--":
            dashes.append(len(out))
            out.append(Piece(word, end, end))
            continue
        start += len(text[start:stop]) - len(text[start:stop].lstrip(_BLANK))
        stop = start + len(text[start:stop].rstrip(_BLANK))
        if start < end and out:  # an ellipsis in one character, part of which is another token's
            if out[-1].start < start:
                out[-1] = out[-1]._replace(end=start)
            else:
                start, stop = end, max(end, stop)
        _fill(text, out, dashes, end, start)
        dashes = []
        out.append(Piece(word, start, stop))
        end = stop
    return out[:-1]


def _fill(text: str, out: list[Piece], dashes: list[int], begin: int, end: int) -> None:
    """Gives the characters between two words to the dashes there, and what combines to the first."""
    between = text[begin:end]
    runs = list(_HYPHENS.finditer(between)) if dashes else []
    first = runs[0].start() if runs else len(between)
    rest = len(between[:first].rstrip(_BLANK))
    before = (dashes[0] if dashes else len(out)) - 1
    if rest and before >= 0:
        out[before] = out[before]._replace(end=begin + rest)
    for i, dash in enumerate(dashes):
        run = runs[min(i, len(runs) - 1)]
        out[dash] = Piece("--", begin + run.start(), begin + run.end())
