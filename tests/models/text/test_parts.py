"""Lines of a text, words between white space, and regions of the caller's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config.tokenization import Ours
from models.text.parts import between_spaces, in_regions, lines
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Token, Vocabulary

vocabulary = Vocabulary.from_words(["<unk>", "</s>"], SpecialWords(tokenization=Ours(version=2)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\r\n  \n", []),
        ("a", ["a"]),
        ("a\nb\r\nc\rd\n", ["a", "b", "c", "d"]),
        ("\n a \n\n\tb", [" a ", "\tb"]),
        ("a\u2028b\x0bc", ["a\u2028b\x0bc"]),
    ],
)
def test_lines(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in lines(text)] == expected


@given(st.text("a \n\r", max_size=12))
def test_lines_are_those_of_python(text: str) -> None:
    assert [text[start:end] for start, end in lines(text)] == [
        one for one in text.splitlines() if one.strip()
    ]


@given(st.text(max_size=30) | st.text("a-. '\u200b\x00", max_size=12))
def test_each_token_is_in_the_word_between_spaces_that_it_stands_in(text: str) -> None:
    tokens = vocabulary.tokenize(text)
    groups = between_spaces(text, tokens)
    assert [i for group in groups for i in group] == list(range(len(tokens)))
    pieces = [piece for piece in text.split() if vocabulary.tokenize(piece)]
    assert [[tokens[i].form for i in group] for group in groups] == [
        [token.form for token in vocabulary.tokenize(piece)] for piece in pieces
    ]


TEXT = "The well-known plumber\u2019s cat."
TOKENS = vocabulary.tokenize(TEXT)


def test_regions_may_overlap_and_leave_gaps() -> None:
    found = in_regions(
        TOKENS, [(0, 3), (4, 14), (3, 15), (15, 24), (0, len(TEXT)), (3, 4), (29, 29)], len(TEXT)
    )
    assert [[TOKENS[i].surface for i in one] for one in found] == [
        ["The"],
        ["well", "-", "known"],
        ["well", "-", "known"],
        ["plumber", "\u2019s"],
        [token.surface for token in TOKENS],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((0, 2), r"region \[0, 2\] cuts the token 'The', \[0, 3\]"),
        ((5, 14), r"region \[5, 14\] cuts the token 'well', \[4, 8\]"),
        ((4, 23), r"cuts the token '\u2019s', \[22, 24\]"),
        ((1, 2), r"cuts the token 'The'"),
        ((5, 5), r"cuts the token 'well'"),
        ((-1, 3), r"region \[-1, 3\] is not within the text, \[0, 29\]"),
        ((0, 30), r"is not within the text"),
        ((4, 3), r"is not within the text"),
    ],
)
def test_a_region_that_cannot_be(region: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        in_regions(TOKENS, [(0, 3), region], len(TEXT))


@given(st.text("ab -'.", max_size=20), st.data())
def test_regions_against_a_plain_search(text: str, data: st.DataObject) -> None:
    tokens = vocabulary.tokenize(text)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))

    def cut(token: Token) -> bool:
        return any(token.start < edge < token.end for edge in (begin, end))

    if any(map(cut, tokens)):
        with pytest.raises(ValueError, match="cuts the token"):
            in_regions(tokens, [(begin, end)], len(text))
    else:
        (found,) = in_regions(tokens, [(begin, end)], len(text))
        inside = [i for i, token in enumerate(tokens) if begin <= token.start and token.end <= end]
        assert list(found) == inside
