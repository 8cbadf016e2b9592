"""Texts as sentences, and regions of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from service.contract.errors import InvalidRequest
from service.scoring.sentences import check_lines, check_regions, is_end, sentences

PIECES = st.sampled_from(["Thank", " you", "\n", "\r", "\r\n", " \t ", "well-known", "zzz", "\u200b", "..."])
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@given(st.lists(TEXTS, max_size=4), st.booleans())
def test_lines_are_sentences_whose_places_are_in_the_text(
    spelled: Bundle, texts: list[str], end: bool
) -> None:
    found = sentences(spelled.vocabulary, texts, end_of_sentence=end, lines=True)
    for text, of_text in zip(texts, found, strict=True):
        # An independent reading of line ends: CR LF is one, and CR and LF each are.
        lines = re.split("\r\n|\n|\r", text)
        expected = [[token.word for token in spelled.vocabulary.tokenize(line)] for line in lines]
        expected = [words for words in expected if words] or [[]]
        assert [[token.word for token in one if not is_end(token)] for one in of_text] == expected
        for one in of_text:
            assert [is_end(token) for token in one] == [False] * (len(one) - end) + [True] * end
            for token in one:
                assert is_end(token) or text[token.start : token.end] == token.surface
                assert not is_end(token) or text[token.end : token.end + 1] in ("", "\r", "\n")
    whole = sentences(spelled.vocabulary, texts, end_of_sentence=end)
    for text, [sentence] in zip(texts, whole, strict=True):
        assert [token for token in sentence if not is_end(token)] == spelled.vocabulary.tokenize(text)
        assert not end or (sentence[-1].start, sentence[-1].end) == (len(text), len(text))


def test_an_end_that_is_written_is_a_word(spelled: Bundle) -> None:
    [[sentence]] = sentences(spelled.vocabulary, ["the </s>"], pretokenized=True)
    assert [is_end(token) for token in sentence] == [False, False, True]


TEXT = "A well-known man\u2019s \U0001f468\u200d\U0001f469 etc."


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((0, 2), None),
        ((1, 2), None),
        ((2, 6), None),
        ((2, 7), None),
        ((13, 16), None),
        ((13, 18), None),
        ((4, 4), "cuts the token 'well' at [2, 6], at 4"),
        ((2, 9), "cuts the token 'known' at [7, 12], at 9"),
        ((3, 12), "cuts the token 'well' at [2, 6], at 3"),
        ((13, 17), "cuts the token '\u2019s' at [16, 18], at 17"),
        ((20, 22), "cuts the token '\U0001f468\\u200d\U0001f469' at [19, 22], at 20"),
        ((-1, 2), "must be [start, end] with 0 <= start <= end <= 27"),
        ((2, 28), "must be [start, end]"),
        ((3, 2), "must be [start, end]"),
    ],
)
def test_regions_fit_the_tokens(spelled: Bundle, region: tuple[int, int], message: str | None) -> None:
    tokens = spelled.vocabulary.tokenize(TEXT)
    regions = [(0, 1), region, (0, len(TEXT))]
    if message is None:
        check_regions(TEXT, tokens, regions, "regions")
        return
    with pytest.raises(InvalidRequest) as raised:
        check_regions(TEXT, tokens, regions, "regions")
    assert raised.value.message.startswith(f"regions[1] {message}")
    assert raised.value.param == "regions[1]"


def test_lines_have_no_context() -> None:
    check_lines(True, False)
    check_lines(False, True)
    with pytest.raises(InvalidRequest) as raised:
        check_lines(True, True, "parameters.lines")
    assert raised.value.param == "parameters.lines"
