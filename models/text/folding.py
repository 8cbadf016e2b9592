"""Look-alikes become one character, with a map back into the text as it was sent.

What folds, in this order:

* Invisible characters are left out (`invisible`).
* Each character's canonical decomposition is taken, and then of each part: apostrophes, quotation marks,
  hyphens, dashes and dots by the table below; compatibility forms (full-width and half-width, small,
  vertical, Arabic presentation forms, mathematical letters, ligatures, Roman numerals, radicals) by
  Unicode's. Superscripts, subscripts, fractions, circled and squared characters, the trademark sign and
  characters that stand for several words stay.
* The result is composed (NFC).

An ellipsis is ``\u2026`` here. A dash between digits may be a hyphen, so two kinds stay apart: ``\u2013`` for
the en dash and the figure dash, ``\u2014`` for all others. `models.text.words` has the rest of the rules.
"""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple

_FOLDS: Final = {
    "'": (
        "\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u00b4\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca"
        "\u02cb\u0384\u055a\u05f3\u07f4\u07f5\u1fbd\u1fbf\u1ffe\u275b\u275c\u275f\ua78b\ua78c\u300e\u300f"
    ),
    '"': (
        "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u02ba\u02dd\u02ee\u05f4\u275d\u275e\u2760\u2e42"
        "\u301d\u301e\u301f\u300c\u300d\U0001f676\U0001f677\U0001f678"
    ),
    "-": "\u2010\u2011\u2043\u2212\u02d7\u058a\u05be\u1806",
    "\u2013": "\u2012",
    "\u2014": "\u2015\u2e3a\u2e3b\u2500\u2501",
    "\u2026": "\u2025\u22ef",
    ".": "\u2024",
}
_TAGS: Final = frozenset(
    "<wide> <narrow> <small> <vertical> <font> <noBreak> <initial> <medial> <final> <isolated>".split()
)

_INVISIBLE: Final = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x13430, 0x1345F), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Unicode's Default_Ignorable_Code_Point, and the format characters of annotations and hieroglyphs."""

invisible: Final = frozenset(chr(code) for low, high in _INVISIBLE for code in range(low, high + 1))
"""Characters that show nothing: never a word, nor part of one (but the joiners and tags of an emoji)."""


class Folded(NamedTuple):
    """A text with its look-alikes folded: character i of `text` is ``[starts[i], ends[i])`` of the original.

    Characters that came of one group (a ligature, a letter with its combining marks) have the same place.
    """

    text: str
    starts: list[int]
    ends: list[int]


class _Table(dict[str, str]):
    """What each character becomes; filled as characters are met."""

    def __missing__(self, char: str) -> str:
        parts = unicodedata.normalize("NFD", char)
        folded = "".join(map(self._part, parts))
        if len(self) < 1 << 16:
            self[char] = folded
        return folded

    def _part(self, char: str) -> str:
        if (known := _EXPLICIT.get(char)) is not None:
            return known
        tag, _, codes = unicodedata.decomposition(char).partition(" ")
        if tag in _TAGS or (tag == "<compat>" and _is_letter(char)):
            parts = "".join(chr(int(code, 16)) for code in codes.split())
            plain = "".join(map(self._part, unicodedata.normalize("NFD", parts)))
            if (
                len(plain) == 1
                or unicodedata.normalize("NFC", plain).isalpha()
                or (tag in _TAGS and not _separates(plain))
            ):
                return plain
        return char


def _separates(text: str) -> bool:
    """Whether it has a space or a mark in it, and so would be several words."""
    return any(char.isspace() or unicodedata.category(char)[0] in "PSZ" for char in text)


def _is_letter(char: str) -> bool:
    """A letter, a Roman numeral or a radical; Korean letters that stand alone are as they should be."""
    if "\u3131" <= char <= "\u318e":
        return False
    return (
        unicodedata.category(char)[0] == "L" or "\u2160" <= char <= "\u217f" or "\u2e80" <= char <= "\u2fdf"
    )


_EXPLICIT: Final = {char: to for to, chars in _FOLDS.items() for char in chars}
_table: Final = _Table()


def fold(text: str) -> Folded:
    """`text` with its look-alikes folded."""
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for i, char in enumerate(text):
        if char in invisible:
            continue
        folded = _table[char]
        chars += folded
        starts += [i] * len(folded)
        ends += [i + 1] * len(folded)
    return _composed("".join(chars), starts, ends)


def compose(text: str) -> Folded:
    """`text` in NFC, nothing folded."""
    places = range(len(text))
    return _composed(text, list(places), [i + 1 for i in places])


def _composed(text: str, starts: list[int], ends: list[int]) -> Folded:
    """NFC, one letter with its combining marks at a time."""
    if unicodedata.is_normalized("NFC", text):
        return Folded(text, starts, ends)
    out: list[str] = []
    new_starts: list[int] = []
    new_ends: list[int] = []
    begin = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _continues(text[end - 1], text[end]):
            continue
        group = text[begin:end]
        composed = unicodedata.normalize("NFC", group)
        if composed == group:
            new_starts += starts[begin:end]
            new_ends += ends[begin:end]
        else:
            same = _common_suffix(group, composed)  # marks that joined nothing
            new_starts += [starts[begin]] * (len(composed) - same) + starts[end - same : end]
            new_ends += [ends[end - same - 1]] * (len(composed) - same) + ends[end - same : end]
        out.append(composed)
        begin = end
    return Folded("".join(out), new_starts, new_ends)


def _common_suffix(one: str, other: str) -> int:
    """Its length; less than that of the shorter."""
    size = 0
    while size < min(len(one), len(other)) - 1 and one[-1 - size] == other[-1 - size]:
        size += 1
    return size


def _continues(before: str, char: str) -> bool:
    """Whether composition may join `char` to what stands before it."""
    if "\u1161" <= char <= "\u1175" or "\u11a8" <= char <= "\u11c2":  # vowels and finals of Korean syllables
        return "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    return unicodedata.category(char)[0] == "M"
