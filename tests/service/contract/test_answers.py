"""Results have the fields that their models describe, in that order, and say when a field is absent."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from models.text.vocabulary import Token
from service.contract.answers import (
    PredictedWord,
    PredictResult,
    ScoredWord,
    ScoreResult,
    predict_result,
    predicted_word,
    score_result,
    scored_words,
)
from service.contract.numbers import DIGITS, logprob_error, perplexity, rounded

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
        check(PredictedWord, word, set())
        assert tuple(word.values()) == pair


@given(st.lists(st.tuples(st.integers(0, 3), words, logprobs | st.just(-math.inf))), errors, st.booleans())
def test_a_score(tokens: list[tuple[int, str, float]], error: float, per_word: bool) -> None:
    values, total = rounded([value for *_, value in tokens])
    listed = scored_words([Token(number, surface) for number, surface, _ in tokens], values, unknown_id=0)
    result = score_result(total, len(values), 7, error, listed if per_word else None)
    absent = {"logprob_error": error == 0, "words": not per_word}
    check(ScoreResult, result, {name for name, missing in absent.items() if missing})
    assert result["perplexity"] == perplexity(total, len(values)) or not tokens
    for word, (number, surface, value) in zip(listed, tokens, strict=True):
        check(ScoredWord, word, set())
        assert word == {"word": surface, "logprob": round(value, DIGITS), "known": number != 0}


@given(st.floats(1e-12, 10.0))
def test_the_error_is_rounded_up_and_has_room_for_the_rounding_of_logarithms(error: float) -> None:
    (told,) = logprob_error(error).values()
    assert error + 10**-DIGITS / 2 <= told <= error + 2.1 * 10**-DIGITS


def test_a_perplexity_beyond_doubles_is_infinite_and_one_of_no_words_is_no_number() -> None:
    assert perplexity(-1e6, 1) == perplexity(-math.inf, 2) == math.inf
    assert math.isnan(perplexity(0.0, 0))
    assert perplexity(-math.log(4) * 3, 3) == 4
