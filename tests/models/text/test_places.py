"""Where tokens stand in the text as it was sent, for every tokenization."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text.folding import invisible
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from tests.support.renderings import RENDERINGS, sample_lines

TOKENIZATIONS: dict[str, Tokenization] = {
    "first version": Ours(),
    "second version": Ours(version=2),
    "white space": Whitespace(),
    "lower case": Whitespace(lowercase=True),
    "moses": Moses(),
    "plain moses": Moses(split_dashes=False, split_numbers=False),
    "jieba": Jieba(),
}
WORDS = (
    "<unk> </s> the a I don't it's 's n't - -- ... \" ' , . @-@ well known 1 2019 \u6211 \u5317\u4eac".split()
)
VOCABULARIES = {
    name: Vocabulary.from_words(WORDS, SpecialWords(tokenization=tokenization))
    for name, tokenization in TOKENIZATIONS.items()
}
LINES = [*sample_lines()[:60], "\u6211\u6765\u5230\u5317\u4eac, iPhone \u5f88 good\u3002"]
MARKS = " \t\x00.,'\u2019\"\u201c-\u2013\u2014\u2026sSaI15:&\u00ad\u200b\u200d"
MARKS += "e\u0301\u00e9\ufb01\uff21@\u4e2d\ud55c\u1100\u1161"

texts = st.text(max_size=30) | st.text(MARKS, max_size=20)
each = pytest.mark.parametrize("name", TOKENIZATIONS)


def is_nothing(char: str) -> bool:
    return char.isspace() or char in invisible or unicodedata.category(char) == "Cc"


def check(vocabulary: Vocabulary, text: str, pretokenized: bool = False) -> None:
    (tokens,) = vocabulary.tokenize_batch([text], pretokenized)
    end = 0
    for token in tokens:
        assert end <= token.start <= token.end
        assert text[token.start : token.end] == token.surface
        assert all(map(is_nothing, text[end : token.start]))
        assert token.word
        assert token.id in (vocabulary.unknown_id, *vocabulary.encode_batch([token.word], True)[0])
        if token.id != vocabulary.unknown_id:
            assert token.word == vocabulary.word(token.id)
        end = token.end
    assert all(map(is_nothing, text[end:]))
    assert [token.id for token in tokens] == vocabulary.encode_batch([text], pretokenized)[0]


@each
@given(text=texts)
def test_places_leave_out_nothing_that_shows(name: str, text: str) -> None:
    check(VOCABULARIES[name], text)


@each
@pytest.mark.parametrize("rendering", [str, *RENDERINGS], ids=lambda one: one.__name__)
def test_places_in_real_lines(name: str, rendering: Callable[[str], str]) -> None:
    for line in LINES:
        check(VOCABULARIES[name], rendering(line))


@each
@given(text=texts)
def test_words_of_the_vocabulary_between_spaces(name: str, text: str) -> None:
    check(VOCABULARIES[name], text, pretokenized=True)


@pytest.mark.parametrize(
    ("name", "text", "typed", "forms"),
    [
        ("first version", "I don\u2019t \u2014 \u201ca\u2026", "I|don\u2019t|\u2014|\u201c|a|\u2026",
         "I|don't|--|\"|a|..."),
        ("first version", "a - a--b -", "a|-|a|--|b|-", "a|--|a|--|b|-"),
        ("first version", "cafe\u0301 na\u00adna", "cafe\u0301|na\u00adna", "caf\u00e9|nana"),
        ("second version", "it\u2019s\u2026 \ufb01ne", "it|\u2019s|\u2026|\ufb01ne", "it|'s|...|fine"),
        ("second version", "\u200ewell\u2010known -", "well|\u2010|known|-", "well|-|known|--"),
        ("lower case", "The CAT", "The|CAT", "the|cat"),
        ("moses", "well-known 1,000 isn't", "well|-|known|1|,|000|isn|'t", "well|@-@|known|1|@,@|000|isn|'t"),
        ("moses", "well @-@ known", "well|@-@|known", "well|@-@|known"),
        ("jieba", "\u6211\u6765\u5230e\u0301", "\u6211|\u6765\u5230|e\u0301", "\u6211|\u6765\u5230|\u00e9"),
    ],
    ids=ascii,
)  # fmt: skip
def test_what_was_typed_and_what_it_is(name: str, text: str, typed: str, forms: str) -> None:
    tokens = VOCABULARIES[name].tokenize(text)
    assert [token.surface for token in tokens] == typed.split("|")
    assert [token.word for token in tokens] == forms.split("|")
