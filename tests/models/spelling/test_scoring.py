"""From the class's probability to the word's."""

from __future__ import annotations

import pytest

from models.spelling.scoring import spelled_logprobs
from models.spelling.spelling_model import SpellingModel
from models.text.tokenizer import UNKNOWN
from models.text.vocabulary import Vocabulary

SPELLING = SpellingModel.train({"plain": 3, "plane": 2}, Vocabulary.from_words([UNKNOWN, "</s>", "a"]))


def test_unknown_words_pay_for_their_spelling() -> None:
    plain, other = SPELLING.logprob(["plain", "Ünicorn"])
    found = spelled_logprobs([-1.0, -2.0, -3.0, -4.0], {1: "plain", 3: "Ünicorn"}, SPELLING, UNKNOWN)
    assert found == pytest.approx([-1.0, -2.0 + plain, -3.0, -4.0 + other], rel=1e-15)


def test_the_class_by_its_own_name_costs_the_class() -> None:
    assert spelled_logprobs([-1.0, -2.0], {0: UNKNOWN}, SPELLING, UNKNOWN) == [-1.0, -2.0]


def test_without_unknown_words_nothing_changes() -> None:
    logprobs = [-1.0, -2.0]
    assert spelled_logprobs(logprobs, {}, SPELLING, UNKNOWN) == logprobs
