"""Text to words and back: what a person types is what the model sees and what is shown again."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from tests.support.words import WORDS, surfaces

# -- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("Thank you very much.", ["Thank", "you", "very", "much", "."]),
        ("the The THE", ["the", "The", "THE"]),
        ("I don't, I can't!", ["I", "don't", ",", "I", "can't", "!"]),
        ("rock'n'roll (AT&T)", ["rock'n'roll", "(", "AT&T", ")"]),
        ("'it'", ["'", "it", "'"]),
        ('"much"', ['"', "much", '"']),
        ("the U.S. it", ["the", "U.S.", "it"]),
        ("e.g. 12:30 p.m.", ["e.g.", "12:30", "p.m."]),
        ("3.5%, 1,000, 2nd", ["3.5", "%", ",", "1,000", ",", "2nd"]),
        ("C++, F#, Node.js", ["C++", ",", "F#", ",", "Node.js"]),
        ("more...", ["more", "..."]),
        ("more....", ["more", "...", "."]),
        ("well-known", ["well", "-", "known"]),
        ("well - known", ["well", "--", "known"]),
        ("well -- known", ["well", "--", "known"]),
        ("well--known", ["well", "--", "known"]),
        ("a/the $3.5", ["a", "/", "the", "$", "3.5"]),
        ("[a]; it:", ["[", "a", "]", ";", "it", ":"]),
        ("\u4f60\u597d", ["\u4f60\u597d"]),
    ],
)
def test_words_of_a_text(vocabulary: Vocabulary, text: str, words: list[str]) -> None:
    tokens = vocabulary.tokenize(text)
    assert [token.word for token in tokens] == words
    assert [vocabulary.word(token.id) for token in tokens] == words


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("I don\u2019t", "I don't"),
        ("\u2018it\u2019", "'it'"),
        ("\u201cmuch\u201d", '"much"'),
        ("well\u2014known", "well - known"),
        ("well \u2013 known", "well - known"),
        ("more\u2026", "more..."),
        ("much .", "much."),
        ("  the\t\nof ", "the of"),
        ("( a )", "(a)"),
        ("the\u00a0of", "the of"),
        ("the\x00of", "the of"),
        ("the\x00", "the"),
        ("the\x1b\x07of\x7f", "the of"),
        ("the\u200bof", "the of"),
        ("\ufeffthe", "the"),
        ("mo\u00adther", "mother"),
        ("cafe\u0301", "caf\u00e9"),
        ("u\u0308ber", "\u00fcber"),
    ],
)
def test_what_typing_does_not_change(vocabulary: Vocabulary, typed: str, plain: str) -> None:
    tokens = vocabulary.tokenize(plain)
    assert [token.word for token in vocabulary.tokenize(typed)] == [token.word for token in tokens]
    assert all(token.id != vocabulary.unknown_id for token in tokens)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("the zebra", ["zebra"]),
        ("Zebra's, the", ["Zebra's"]),
        ("the \U0001f600\U0001f680 of", ["\U0001f600", "\U0001f680"]),
        ("the resume\u0301s", ["resume\u0301s"]),  # as typed, not as normalized
        ("zebra\u2019s", ["zebra\u2019s"]),
        ("the\u0301\u0300\u0301", ["the\u0301\u0300\u0301"]),
        ("\u0301", ["\u0301"]),
        ("\x00zebra\x00", ["zebra"]),
        ("the \u00adzebra", ["zebra"]),
        ("Mu\u0308ll-Mu\u0308ll", ["Mu\u0308ll", "Mu\u0308ll"]),
    ],
)
def test_unknown_words_keep_their_own_surface(vocabulary: Vocabulary, text: str, unknown: list[str]) -> None:
    tokens = vocabulary.tokenize(text)
    assert [token.surface for token in tokens if token.id == vocabulary.unknown_id] == unknown


def test_an_unknown_dash_has_a_surface() -> None:
    vocabulary = Vocabulary.from_words([UNKNOWN, END, "a"])
    assert surfaces(vocabulary, "a - a\u2014a -") == ["a", "-", "a", "\u2014", "a", "-"]


@pytest.mark.parametrize("text", ["<unk>", "</s>", "a <unk> </s> b", "<s>", "<pad>", "<UNK>"])
def test_special_words_cannot_be_typed(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text)
    assert vocabulary.end_id not in [token.id for token in tokens]
    assert UNKNOWN not in [token.surface for token in tokens]
    assert END not in [token.surface for token in tokens]


@pytest.mark.parametrize(("text", "place"), [("\ud800", 0), ("the \udfff", 4), ("\U0001f600\ud83d", 1)])
def test_lone_surrogates(vocabulary: Vocabulary, text: str, place: int) -> None:
    message = f"^not valid Unicode: lone surrogate at character {place}$"
    for call in (vocabulary.tokenize, vocabulary.starting_with):
        with pytest.raises(ValueError, match=message):
            call(text)
    for batch_call in (vocabulary.tokenize_batch, vocabulary.encode_batch):
        with pytest.raises(ValueError, match=message):
            batch_call(["the", text])


@given(st.text())
def test_any_text_is_words(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text)
    for token in tokens:
        assert 0 <= token.id < len(vocabulary)
        assert token.surface
        assert token.surface.strip() == token.surface
        assert (token.id == vocabulary.unknown_id) or token.word == vocabulary.word(token.id)
        assert text[token.start : token.end] == token.surface
    assert vocabulary.encode_batch([text]) == [[token.id for token in tokens]]


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_batch_is_its_texts(vocabulary: Vocabulary, texts: list[str]) -> None:
    assert vocabulary.tokenize_batch(texts) == [vocabulary.tokenize(text) for text in texts]


@given(st.lists(st.sampled_from([word for word in WORDS if word != "-"])))
def test_spacing_carries_no_information(vocabulary: Vocabulary, words: list[str]) -> None:
    ids = [token.id for token in vocabulary.tokenize(" ".join(words))]
    assert [vocabulary.word(i) for i in ids] == words
    assert [token.id for token in vocabulary.tokenize("\n \t".join(words))] == ids


@pytest.mark.parametrize(
    "part",
    [" ", "\x00\n", " -", "--", "a", "1,", "a.", "\u0301", "\u2014 ", "'", "\u2019", "."],
    ids=["spaces", "control", "dashes", "long dash", "letters", "commas", "dots", "marks", "em dashes",
         "quotes", "curly quotes", "points"],
)  # fmt: skip
def test_very_long_texts_take_linear_time(vocabulary: Vocabulary, part: str) -> None:
    text = part * (40_000 // len(part))
    before = time.process_time()
    assert len(vocabulary.encode_batch([text])[0]) <= len(text)
    assert time.process_time() - before < 3  # a rule that is quadratic in the length needs over ten


# -- text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Thank you very much.",
        "I don't, can't!",
        'The "well-known" mother (more or less): 3.5%, $1,000; 12:30 p.m....',
        "the U.S. - it",
        "a/the [caf\u00e9]",
        "rock'n'roll, AT&T, C++ F# 2nd?",
        "'it' \"very\"",
    ],
)
def test_text_round_trips(text: str) -> None:
    words = [UNKNOWN, END, *WORDS, "or", "less"]
    vocabulary = Vocabulary.from_words(words)
    assert vocabulary.decode([token.id for token in vocabulary.tokenize(text)]) == text


@given(st.lists(st.sampled_from([word for word in WORDS if word not in ("-", "--", ".", "...")])))
def test_decoded_text_is_the_same_words_again(vocabulary: Vocabulary, words: list[str]) -> None:
    # Points and dashes in a row would be glued to others: "." "." "." is typed as "...".
    text = vocabulary.decode([token.id for token in vocabulary.tokenize(" ".join(words))])
    assert surfaces(vocabulary, text) == words


def test_the_end_of_a_sentence_is_not_shown(vocabulary: Vocabulary) -> None:
    ids = [vocabulary.end_id, *(token.id for token in vocabulary.tokenize("much.")), vocabulary.end_id]
    assert vocabulary.decode(ids) == "much."
    assert vocabulary.decode([]) == ""


def test_word_is_distinct_and_typing_it_gives_its_id(vocabulary: Vocabulary) -> None:
    words = [vocabulary.word(i) for i in range(len(vocabulary))]
    assert len(set(words)) == len(vocabulary) == len(WORDS) + 2
    for i, word in enumerate(words):
        if i not in (vocabulary.unknown_id, vocabulary.end_id):
            assert [token.id for token in vocabulary.tokenize(word)] == [i]


def test_word_of_no_id(vocabulary: Vocabulary) -> None:
    for word_id in (-1, len(vocabulary)):
        with pytest.raises(IndexError):
            vocabulary.word(word_id)


def test_special_ids(vocabulary: Vocabulary) -> None:
    assert vocabulary.word(vocabulary.unknown_id) == UNKNOWN
    assert vocabulary.word(vocabulary.end_id) == END
    assert vocabulary.special_ids == {vocabulary.unknown_id}
