"""Emoji against the property of Unicode as `regex` has it, and whole sequences."""

from __future__ import annotations

import pytest
import regex

from models.text.emoji import EMOJI, emoji_name


def test_pictographs_are_those_of_unicode() -> None:
    """All of them; and of other characters symbols alone, which Unicode 17 took out of the property."""
    known = regex.compile(r"\p{Extended_Pictographic}")
    beyond = regex.compile(r"[\p{S}\p{Cn}]")
    count = 0
    for char in map(chr, range(0x110000)):
        if known.match(char):
            count += 1
            assert EMOJI.fullmatch(char), hex(ord(char))
        elif EMOJI.fullmatch(char):
            assert beyond.match(char), hex(ord(char))
    assert count > 1000


@pytest.mark.parametrize(
    ("sequence", "name"),
    [
        ("\u2764\ufe0f", "\u2764"),
        ("\u261d\ufe0f\U0001f3fd", "\u261d\U0001f3fd"),
        ("\U0001f44d\U0001f3ff", "\U0001f44d\U0001f3ff"),
        ("\U0001f469\U0001f3fd\u200d\u2695\ufe0f", "\U0001f469\U0001f3fd\u200d\u2695"),
        ("\U0001f1fa\U0001f1f8", "\U0001f1fa\U0001f1f8"),
        ("*\ufe0f\u20e3", "*\u20e3"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),
    ],
    ids=ascii,
)
def test_a_sequence_is_one(sequence: str, name: str) -> None:
    assert EMOJI.fullmatch(sequence)
    assert emoji_name(sequence) == name
    assert [found[0] for found in EMOJI.finditer(f"a{sequence}{sequence}b")] == [sequence, sequence]


@pytest.mark.parametrize(
    "text", ["a", "1", "#", "\U0001f3fd", "\U0001f1e9", "\u200d", "\ufe0f", "1\ufe0f", "\u20e3"], ids=ascii
)
def test_what_is_none(text: str) -> None:
    assert not EMOJI.search(text)
