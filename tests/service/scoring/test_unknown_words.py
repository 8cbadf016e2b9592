"""What unknown words cost, as it is asked for."""

import math

import pytest

from models.bundle import Bundle
from service.contract.errors import InvalidRequest
from service.scoring.unknown_words import Unknown, UnknownWords

CLASS = -4.0


def cost(unknown: UnknownWords, bundle: Bundle, text: str, pretokenized: bool = False) -> list[float]:
    [tokens] = bundle.vocabulary.tokenize_batch([text], pretokenized)
    return unknown.logprobs(tokens, [CLASS] * len(tokens))


def test_by_default_a_word_is_spelled_where_that_can_be(spelled: Bundle, bundle: Bundle) -> None:
    assert spelled.spelling is not None
    for how in (None, "spelled"):
        unknown = UnknownWords.of(spelled, how, None)  # type: ignore[arg-type]
        found = cost(unknown, spelled, "the Plane \u201cplane\u201d")
        upper, lower = spelled.spelling.logprob(["Plane", "plane"])
        assert found == pytest.approx([CLASS, CLASS + upper, CLASS, CLASS + lower, CLASS], rel=1e-15)
    assert cost(UnknownWords.of(bundle, None, None), bundle, "the Plane") == [CLASS, CLASS]


def test_the_form_that_is_spelled_is_the_models(spelled: Bundle) -> None:
    unknown = UnknownWords.of(spelled, None, None)
    assert cost(unknown, spelled, "can\u2019t") == cost(unknown, spelled, "can't") < [CLASS]


def test_nonsense_costs_more_than_a_likely_spelling(spelled: Bundle) -> None:
    unknown = UnknownWords.of(spelled, None, None)
    [plain], [nonsense] = cost(unknown, spelled, "quicker"), cost(unknown, spelled, "kxqzt")
    assert nonsense < plain < CLASS
    assert math.isfinite(nonsense)


def test_the_class_by_its_own_name_costs_the_class(spelled: Bundle) -> None:
    unknown = UnknownWords.of(spelled, None, None)
    literal, plane = cost(unknown, spelled, "<unk> plane", pretokenized=True)
    assert literal == CLASS
    assert plane < CLASS


@pytest.mark.parametrize(
    ("how", "penalty", "default", "default_penalty", "expected"),
    [
        ("class", None, "spelled", 0.0, 0.0),
        ("class", 2.5, "spelled", 0.0, 2.5),
        (None, 2.5, "spelled", 0.0, 2.5),
        (None, 0.0, "spelled", 1.0, 0.0),
        (None, None, "class", 1.5, 1.5),
        ("class", None, "spelled", 1.5, 1.5),
    ],
)
def test_a_penalty_is_of_the_class(
    spelled: Bundle,
    how: Unknown | None,
    penalty: float | None,
    default: Unknown,
    default_penalty: float,
    expected: float,
) -> None:
    unknown = UnknownWords.of(spelled, how, penalty, default, default_penalty)
    assert unknown.spelling is None
    assert cost(unknown, spelled, "the plane") == [CLASS, CLASS - expected]


def test_what_does_not_go_together(spelled: Bundle, bundle: Bundle) -> None:
    with pytest.raises(InvalidRequest) as raised:
        UnknownWords.of(spelled, "spelled", 0.0)
    assert raised.value.param == "unknown_penalty"
    with pytest.raises(InvalidRequest) as raised:
        UnknownWords.of(bundle, "spelled", None, prefix="parameters.")
    assert raised.value.param == "parameters.unknown"
