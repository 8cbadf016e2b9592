"""The distribution over strings: proper by brute force, and as a plain implementation has it."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spelling.alphabet import UNSEEN, Alphabet
from models.spelling.kneser_ney import KneserNey
from models.spelling.ngrams import Level, NGrams, encode_shares
from tests.models.spelling.reference import BEGIN, OTHER, STOP, conditional, shares_of, word_probability

UNSEEN_CHARACTER = "é"

counts = st.dictionaries(st.text("ab", min_size=1, max_size=5), st.integers(1, 9), min_size=1, max_size=12)


def made(words: dict[str, int], order: int, kept: float = 1.0) -> NGrams:
    counted = KneserNey(words, order)
    return counted.pruned(int(kept * len(counted)))


@settings(deadline=None, max_examples=25)
@given(counts, st.integers(1, 4), st.floats(0, 1))
def test_every_history_has_a_whole_distribution(words: dict[str, int], order: int, kept: float) -> None:
    ngrams = made(words, order, kept)
    shares = shares_of(ngrams)
    for length in range(order):
        for tail in product([*ngrams.alphabet.characters, OTHER], repeat=length):
            following = conditional(shares, (BEGIN, *tail), order)
            assert math.fsum(following.values()) == pytest.approx(1, abs=1e-12)
            assert min(following.values()) > 0


@settings(deadline=None, max_examples=25)
@given(counts, st.integers(1, 4), st.floats(0, 1))
def test_words_cost_what_the_plain_implementation_says(
    words: dict[str, int], order: int, kept: float
) -> None:
    ngrams = made(words, order, kept)
    shares = shares_of(ngrams)
    empty = conditional(shares, (BEGIN,), order)[STOP]
    letters = "".join(ngrams.alphabet.characters)
    asked = [*words, letters * 3, letters[0], letters[::-1]]
    wanted = [math.log(word_probability(shares, word, order) / (1 - empty)) for word in asked]
    assert ngrams.logprob(asked) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0])
def test_all_strings_together_have_probability_one(kept: float) -> None:
    """All strings of two letters and of "any other character", the sum of which is its share of one."""
    words = {"a": 9, "b": 5, "ab": 4, "ba": 2, "aab": 1}
    order, longest = 3, 9
    ngrams = made(words, order, kept)
    ids, base, _ = ngrams.alphabet.encode([UNSEEN_CHARACTER])
    one_of_all = float(base[ids == UNSEEN][0])
    strings = [
        "".join(characters)
        for length in range(1, longest + 1)
        for characters in product("ab" + UNSEEN_CHARACTER, repeat=length)
    ]
    others = np.array([string.count(UNSEEN_CHARACTER) for string in strings])
    total = float((np.exp(ngrams.logprob(strings)) / one_of_all**others).sum())
    shares = shares_of(ngrams)
    histories = [(BEGIN,), *((BEGIN, *tail) for tail in product("ab?", repeat=order - 1))]
    ends = min(conditional(shares, history, order)[STOP] for history in histories)
    # Words that are longer: each of their first characters was not the end.
    assert 1 - (1 - ends) ** longest <= total <= 1 + 1e-12
    assert total > 0.8


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda word: word.split() == [word])
)
def test_every_word_is_possible(word: str) -> None:
    ngrams = made({"plain": 3, "plane": 2, "的": 1}, 4)
    logprob = ngrams.logprob([word])[0]
    assert math.isfinite(logprob)
    assert logprob < 0


def test_what_is_no_word_is_impossible() -> None:
    ngrams = made({"plain": 3}, 4)
    assert (ngrams.logprob(["", "a b", "\u3000", "pl\tain", "\ud800"]) == -np.inf).all()
    assert ngrams.logprob([]).shape == (0,)


def test_a_word_costs_the_same_in_any_company() -> None:
    ngrams = made({"plain": 3, "plane": 2}, 4)
    words = ["plain", "p", "xyz", "planeplane"]
    assert ngrams.logprob(words).tolist() == [ngrams.logprob([word])[0] for word in words]


def test_shares_are_close_and_leave_something() -> None:
    shares = np.array([0.5, 0.4999, 1e-3, 1e-9, 0.0, 0.2])
    histories = np.array([0, 0, 1, 1, 1, 2])
    codes = encode_shares(shares, histories).astype(int)
    decoded = np.where(codes > 0, 2.0 ** (-(codes - 1) / 11), 0)
    assert np.bincount(histories, decoded).max() < 1
    assert decoded[[2, 5]] == pytest.approx(shares[[2, 5]], rel=0.033)
    assert decoded[[0, 1]] == pytest.approx(shares[[0, 1]], rel=0.07)
    assert codes[[3, 4]].tolist() == [0, 0]
    assert encode_shares(shares, histories, least=255)[4] == 255


AB = Alphabet("ab")
FIRST = Level(np.arange(4), np.array([0, 20, 20, 20], np.uint8))


@pytest.mark.parametrize(
    ("levels", "fault"),
    [
        ([Level(np.arange(3), np.ones(3, np.uint8) * 30)], "needs a share"),
        ([Level(np.arange(4), np.array([60, 20, 60, 60], np.uint8))], "needs a share"),
        ([Level(np.arange(4), np.array([0, 20, 0, 20], np.uint8))], "needs a share"),
        ([Level(np.arange(4), np.array([0, 1, 20, 20], np.uint8))], "leave no probability"),
        ([Level(np.array([0, 2, 1, 3]), FIRST.codes)], "not sorted"),
        ([FIRST, Level(np.array([16]), np.array([9], np.uint8))], "2-grams .* no history"),
        ([FIRST, Level(np.array([-1]), np.array([9], np.uint8))], "2-grams .* no history"),
        ([FIRST, Level(np.array([8, 9]), np.array([12, 1], np.uint8))], "2-grams leave no probability"),
    ],
)
def test_what_is_no_trie_is_refused(levels: list[Level], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        NGrams(AB, levels)
