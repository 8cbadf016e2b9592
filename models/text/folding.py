"""Look-alikes -> one form: what people's devices type differently and read alike, with a way back.

Folded are quotation marks, apostrophes, hyphens, minus signs and dashes, ellipses, white space, ligatures,
and full-width, half-width and styled letters. Characters that show nothing (marks of direction, joiners,
variation selectors, soft hyphens, byte order marks) are left out, but for those within an emoji. What is left
is in Unicode's form NFC. Superscripts, subscripts, fractions and signs such as (TM) stay as they are.
"""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple

import regex

DASH: Final = "\u2014"
"""What every dash becomes; hyphens and minus signs become ``-``."""

ELLIPSIS: Final = "\u2026"
"""One character, which is three full stops."""

_LIKE: Final = {
    "'": "\u2018\u2019\u201a\u201b\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u2032\u2035\u2039\u203a\u055a"
    "\u05f3\u07f4\u07f5\u275b\u275c\ua78b\ua78c",
    '"': "\u201c\u201d\u201e\u201f\u00ab\u00bb\u02ba\u02dd\u02ee\u05f4\u2033\u2036\u275d\u275e\u2e42\u301d"
    "\u301e\u301f",
    "-": "\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2043\u02d7\u2212\u2e17\u2e1a\u2e40\u30a0",
    DASH: "\u2013\u2014\u2015\u2e3a\u2e3b\ufe31\ufe32",
    ELLIPSIS: "\u2026\u22ef\ufe19",
}
_SPECIAL: Final = {ord(mark): form for form, marks in _LIKE.items() for mark in marks}
_STYLES: Final = frozenset(
    "<wide> <narrow> <small> <vertical> <font> <initial> <medial> <final> <isolated>".split()
)
_INVISIBLE: Final = regex.compile("[\\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]")
_VARIATION: Final = regex.compile(r"\p{Variation_Selector}")
_ACCENT: Final = regex.compile(r"(?<=\p{L})[`\u00b4](?=\p{L})")
_CLUSTER: Final = regex.compile(r"\X")

_PICTURE: Final = (
    "\\p{Extended_Pictographic}(?:\ufe0f|\\p{Emoji_Modifier})?\u20e3?(?:[\U000e0020-\U000e007e]+\U000e007f)?"
)
EMOJI: Final = rf"\p{{Regional_Indicator}}{{2}}|[0-9#*]{chr(0xFE0F)}?\u20e3|{_PICTURE}(?:\u200d{_PICTURE})*"
"""A pattern of `regex`: one picture, of however many code points (Unicode Technical Standard 51)."""
_EMOJI: Final = regex.compile(EMOJI)


class Folded(NamedTuple):
    """A folded text; its character i stands for the characters ``starts[i] .. ends[i]`` of the original."""

    text: str
    starts: range | list[int]
    ends: range | list[int]


class _Forms(dict[int, str]):
    """Code point -> its form; each is worked out when it comes for the first time."""

    def __missing__(self, code: int) -> str:
        form = self[code] = _form(chr(code))
        return form


def _form(character: str) -> str:
    if ord(character) in _SPECIAL:
        return _SPECIAL[ord(character)]
    if character.isspace() or unicodedata.category(character) == "Cc":
        return " "
    if _INVISIBLE.match(character):
        return ""
    style = unicodedata.decomposition(character).partition(" ")[0]
    letter = unicodedata.category(character)[0] == "L" or unicodedata.category(character) == "Nl"
    if style in _STYLES or (style == "<compat>" and letter):
        plain = unicodedata.normalize("NFKC", character)
        # What stands for several characters must not be parted between two words.
        if len(plain) == 1 or all(map(str.isalpha, plain)):
            return "".join(_FORMS[ord(each)] for each in plain) if plain != character else character
    return character


_FORMS: Final = _Forms()


def fold(text: str) -> Folded:
    """`text` with look-alikes in one form, and where each of its characters stands in `text`."""
    if text.isascii() and text.isprintable() and "`" not in text:
        return Folded(text, range(len(text)), range(1, len(text) + 1))
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def add(form: str, start: int, end: int) -> None:
        characters.extend(form)
        starts.extend([start] * len(form))
        ends.extend([end] * len(form))

    at = 0
    for emoji in _EMOJI.finditer(text):
        if len(emoji[0]) > 1:
            for i in range(at, emoji.start()):
                add(_FORMS[ord(text[i])], i, i + 1)
            add(_VARIATION.sub("", emoji[0]), *emoji.span())
            at = emoji.end()
    for i in range(at, len(text)):
        add(_FORMS[ord(text[i])], i, i + 1)
    return _composed(Folded(_ACCENT.sub("'", "".join(characters)), starts, ends))


def compose(text: str) -> Folded:
    """`text` in Unicode's form NFC, and where each of its characters stands in `text`."""
    return _composed(Folded(text, range(len(text)), range(1, len(text) + 1)))


def _composed(folded: Folded) -> Folded:
    """What is composed of several characters stands where all of them do."""
    if unicodedata.is_normalized("NFC", folded.text):
        return folded
    text, starts, ends = "", [], []  # type: str, list[int], list[int]
    for cluster in _CLUSTER.finditer(folded.text):
        first, last = cluster.span()
        form = unicodedata.normalize("NFC", cluster[0])
        text += form
        if form == cluster[0]:
            starts.extend(folded.starts[first:last])
            ends.extend(folded.ends[first:last])
        else:
            starts.extend([folded.starts[first]] * len(form))
            ends.extend([folded.ends[last - 1]] * len(form))
    return Folded(text, starts, ends)
