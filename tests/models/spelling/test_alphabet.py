"""Characters by id, and what every other code point is given."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from models.spelling.alphabet import END, MARKS, START, UNSEEN, WHITE_SPACE, Alphabet

EVERY = np.arange(sys.maxunicode + 1)


def test_white_space_is_what_splits_words() -> None:
    assert "".join(c for c in map(chr, EVERY.tolist()) if c.isspace()) == "".join(sorted(WHITE_SPACE))


@pytest.mark.parametrize("characters", ["", "abé", "".join(map(chr, range(0x4E00, 0x4F01)))])
def test_what_is_outside_shares_one(characters: str) -> None:
    alphabet = Alphabet(characters)
    text = [chr(i) for i in EVERY.tolist() if not 0xD800 <= i < 0xE000]
    others = sorted(set(text) - set(characters) - set(WHITE_SPACE))
    ids, base, _ = alphabet.encode(others)
    given = base[ids == UNSEEN]
    assert len(given) == len(others)
    assert given.min() > 0
    assert given.sum() == pytest.approx(1, abs=1e-9)
    assert not alphabet.encode(list(characters))[1].any()
    assert not alphabet.encode([*WHITE_SPACE, "\ud800", "\udfff"])[1].any()


def test_a_character_near_the_alphabet_is_likelier() -> None:
    _, base, _ = Alphabet("的一是").encode(["丁", "ж"])
    assert base[1] > 10 * base[4]


def test_words_become_ids_between_marks() -> None:
    ids, base, starts = Alphabet("ba").encode(["ab", "", "x\n"])
    assert ids.tolist() == [START, MARKS, MARKS + 1, END, START, END, START, UNSEEN, UNSEEN, END]
    assert starts.tolist() == [0, 4, 6]
    assert np.flatnonzero(base).tolist() == [7]


@pytest.mark.parametrize(
    ("characters", "fault"), [("aa", "twice"), ("a b", "white space"), ("\udc00", "surrogate")]
)
def test_what_is_no_alphabet(characters: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Alphabet(characters)
