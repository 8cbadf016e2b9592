"""Results have the fields that their models describe, in that order, and say when a field is absent."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from service.contract.answers import (
    PredictedWord,
    PredictResult,
    ScoredLine,
    ScoredWord,
    ScoreResult,
    line_result,
    predict_result,
    predicted_word,
    score_result,
    scored_group,
    scored_word,
)
from service.contract.numbers import DIGITS, log_sum_exp, logprob_error, perplexity

logprobs = st.floats(-100, 0).map(lambda value: round(value, DIGITS))
errors = st.just(0.0) | st.floats(1e-9, 1.0)
counts = st.integers(0, 10_000)
words = st.text(max_size=5)


def check(kind: type[BaseModel], result: dict[str, Any], absent: set[str]) -> None:
    """The model reads the result, and has no field that the result lacks but those that are `absent`."""
    assert list(result) == [name for name in kind.model_fields if name not in absent]
    read = kind.model_validate_json(to_json(result, inf_nan_mode="null"))
    assert read.model_dump(exclude_unset=True) == from_json(to_json(result, inf_nan_mode="null"))


@given(st.lists(st.tuples(words, logprobs)), counts, counts, errors, st.none() | st.lists(counts, max_size=3))
def test_a_prediction(
    pairs: list[tuple[str, float]], read: int, unknown: int, error: float, clusters: list[int] | None
) -> None:
    result = predict_result([predicted_word(*pair) for pair in pairs], read, unknown, error, clusters)
    absent = {"explain": clusters is None, "logprob_error": error == 0}
    check(PredictResult, result, {name for name, missing in absent.items() if missing})
    for word, pair in zip(result["words"], pairs, strict=True):
        check(PredictedWord, word, {"completion"})
        assert tuple(word.values()) == pair


@given(logprobs | st.just(-math.inf), logprobs, counts, counts, errors, st.booleans(), st.booleans())
def test_a_score(
    total: float, known: float, known_words: int, unknown: int, error: float, lines: bool, per_word: bool
) -> None:
    count = known_words + unknown
    entries = [scored_word("a", 0, 1, -1.0, True, "A"), scored_group("a b", 0, 3, -2.0, 2, 1)]
    result = score_result(
        logprob=total,
        known_logprob=known,
        word_count=count,
        unknown_words=unknown,
        error=error,
        lines=[line_result(total, count, unknown)] if lines else None,
        words=entries if per_word else None,
    )
    absent = {"logprob_error": error == 0, "lines": not lines, "words": not per_word}
    check(ScoreResult, result, {name for name, missing in absent.items() if missing})
    assert result["perplexity"] == perplexity(total, count) or not count
    assert result["known_perplexity"] == perplexity(known, known_words) or not known_words
    for line in result.get("lines", []):
        check(ScoredLine, line, set())
        assert line["perplexity"] == result["perplexity"] or not count


def test_entries_of_words() -> None:
    check(ScoredWord, scored_word("don\u2019t", 3, 8, -1.5, True, "don't"), {"tokens", "unknown_words"})
    check(ScoredWord, scored_word("a", 0, 1, -math.inf, False, "a"), {"token", "tokens", "unknown_words"})
    for unknown in (0, 2):
        group = scored_group("a-b", 0, 3, -1.5, 3, unknown)
        check(ScoredWord, group, {"token"})
        assert group["known"] == (not unknown)


@given(st.floats(1e-12, 10.0))
def test_the_error_is_rounded_up_and_has_room_for_the_rounding_of_logarithms(error: float) -> None:
    (told,) = logprob_error(error).values()
    assert error + 10**-DIGITS / 2 <= told <= error + 2.1 * 10**-DIGITS


def test_a_perplexity_beyond_doubles_is_infinite_and_one_of_no_words_is_no_number() -> None:
    assert perplexity(-1e6, 1) == perplexity(-math.inf, 2) == math.inf
    assert math.isnan(perplexity(0.0, 0))
    assert perplexity(-math.log(4) * 3, 3) == 4


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=4))
def test_one_or_the_other_of_several_words(logprobs: list[float]) -> None:
    found = log_sum_exp(logprobs)
    assert found == pytest.approx(math.log(math.fsum(map(math.exp, logprobs))), abs=1e-9)
    assert log_sum_exp([*logprobs, -math.inf]) == pytest.approx(found, abs=1e-12)
    assert log_sum_exp([-math.inf]) == log_sum_exp([-math.inf, -math.inf]) == -math.inf
