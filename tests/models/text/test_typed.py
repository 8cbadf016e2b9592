"""What is typed since the last space: `Vocabulary.prefix`, and the completions that it makes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text.tokenizer import END, UNKNOWN, SpecialWords
from models.text.vocabulary import Vocabulary

WORDS = (
    "hello help Help he known know well don't Don't I'm York york you You US U.S. U.S s so 's plumber fin"
    " Node.js AT&T 3.5 5 , . ! ? ( ) [ ] { } \" ' - -- ... $ / na\u00efve stra\u00dfe"
).split()


def vocabulary_of(tokenization: Tokenization) -> Vocabulary:
    return Vocabulary.from_words([UNKNOWN, END, *WORDS], SpecialWords(tokenization=tokenization))


OURS = vocabulary_of(Ours(version=2))
FIRST = vocabulary_of(Ours(version=1))


def completions(vocabulary: Vocabulary, typed: str, ignore_case: bool = False) -> list[str]:
    prefix = vocabulary.prefix(typed, ignore_case)
    ids = vocabulary.starting_with(prefix.rest, ignore_case).tolist()
    return [prefix.completion(vocabulary.word(i)) for i in ids]


TABLE = [
    ('"hel', ['"'], ['"hello', '"help']),
    ("\u201chel", ['"'], ["\u201chello", "\u201chelp"]),
    ("(\u201chel", ["(", '"'], ["(\u201chello", "(\u201chelp"]),
    ("well-kno", ["well", "-"], ["well-known", "well-know"]),
    ("don\u2019", [], ["don\u2019t"]),
    ("U.S", [], ["U.S.", "U.S"]),
    ("U", [], ["US", "U.S.", "U.S"]),
    ("Node.j", [], ["Node.js"]),
    ("AT&", [], ["AT&T"]),
    ("3.", [], ["3.5"]),
    ("hello,", ["hello"], ["hello,"]),
    ('hello"', ["hello"], ['hello"']),
    ("plumber\u2019", ["plumber"], ["plumber\u2019s", "plumber\u2019"]),
    (" hel", [], [" hello", " help"]),
    ("York hel", ["York"], ["York hello", "York help"]),
    ("zzz", [], []),
    ("nai\u0308", [], ["nai\u0308ve"]),
    ("\u2026", [], ["\u2026"]),
    ("...", [], ["..."]),
]
SECOND = [
    ("don\u00b4", [], ["don\u00b4t"]),
    ("don\u02bc", [], ["don\u02bct"]),
    ("well\u2011kno", ["well", "-"], ["well\u2011known", "well\u2011know"]),
    ("\ufb01", [], ["\ufb01n"]),
    ("hello.Yo", ["hello", "."], ["hello.York", "hello.You"]),
    ("plumber's", ["plumber"], ["plumber's"]),
]


@pytest.mark.parametrize(
    ("vocabulary", "typed", "before", "expected"),
    [(OURS, *row) for row in TABLE + SECOND] + [(FIRST, *row) for row in TABLE],
)
def test_the_last_word_is_completed(
    vocabulary: Vocabulary, typed: str, before: list[str], expected: list[str]
) -> None:
    assert [vocabulary.word(i) for i in vocabulary.prefix(typed).before] == before
    assert sorted(completions(vocabulary, typed)) == sorted(expected)


@pytest.mark.parametrize("vocabulary", [OURS, FIRST])
@pytest.mark.parametrize(
    ("typed", "before"),
    [
        ("", ""),
        (" ", ""),
        ("well-", "well -"),
        ("well-known-", "well - known -"),
        ("-", "-"),
        ("(-", "( -"),
        ('"', '"'),
        ("\u2018", "'"),
        ('("', '( "'),
        ("({[", "( { ["),
        ("hello (", "hello ("),
        ("hello\u2014", "hello --"),
        ("hello\u2014\u201c", 'hello -- "'),
        ("hello ", "hello"),
        ("\u200b", ""),
    ],
)
def test_any_word_may_follow_what_opens_one(vocabulary: Vocabulary, typed: str, before: str) -> None:
    prefix = vocabulary.prefix(typed)
    assert (prefix.kept, prefix.rest, prefix.typed) == (typed, "", "")
    assert " ".join(map(vocabulary.word, prefix.before)) == before
    assert len(completions(vocabulary, typed)) == len(WORDS)


def test_case() -> None:
    assert completions(OURS, "y") == ["york", "you"]
    assert completions(OURS, "y", ignore_case=True) == ["York", "york", "you", "You"]
    assert completions(OURS, '"HEL', ignore_case=True) == ['"hello', '"help', '"Help']
    assert completions(OURS, "DON\u2019", ignore_case=True) == ["don't", "Don't"]
    # What is typed stays as it is where the word goes on with it.
    assert completions(OURS, "don\u2019", ignore_case=True) == ["don\u2019t", "Don't"]
    assert completions(OURS, "STRASS", ignore_case=True) == ["stra\u00dfe"]
    assert completions(OURS, "HEL") == []


@pytest.mark.parametrize(
    ("tokenization", "typed", "expected"),
    [
        (Whitespace(), "well-", ["well-known"]),
        (Whitespace(lowercase=True), "HE", ["hello"]),
        (Moses(lowercase=True), "HE", ["hello"]),
        (Moses(), '"hel', ['"hello']),
        (Jieba(), "\u6211", ["\u6211\u4eec"]),
    ],
)
def test_other_tokenizations(tokenization: Tokenization, typed: str, expected: list[str]) -> None:
    if isinstance(tokenization, Moses):
        pytest.importorskip("sacremoses")
    if isinstance(tokenization, Jieba):
        pytest.importorskip("rjieba")
    words = [UNKNOWN, END, "hello", "well-known", '"', "\u6211\u4eec", "\u4ed6"]
    vocabulary = Vocabulary.from_words(words, SpecialWords(tokenization=tokenization))
    found = completions(vocabulary, typed)
    assert [one.lower() for one in found] == expected


TYPED = st.lists(
    st.sampled_from(
        [
            *WORDS,
            *(word[:-1] for word in WORDS if word[1:]),
            *"abYz\u00e95(\"'-\u2014\u2019\u201c.,!\u2026\u200b ",
        ]
    ),
    max_size=5,
).map("".join)


@given(TYPED, st.booleans())
def test_the_completed_text_has_the_tokens_that_were_asked_for(typed: str, ignore_case: bool) -> None:
    prefix = OURS.prefix(typed, ignore_case)
    assert prefix.kept + prefix.typed == typed
    for i in OURS.starting_with(prefix.rest, ignore_case).tolist():
        word = OURS.word(i)
        # An s after an apostrophe makes a clitic of it; no sentence begins with a small letter.
        if word[0].isalpha() and word != "s" and not (ignore_case and prefix.kept.endswith(".")):
            assert OURS.encode_batch([prefix.completion(word)]) == [[*prefix.before, i]]


@given(TYPED, st.booleans())
def test_what_is_completed_begins_at_the_earliest_token_that_can(typed: str, ignore_case: bool) -> None:
    key = str.casefold if ignore_case else str
    prefix = OURS.prefix(typed, ignore_case)
    if not prefix.rest:
        return
    at = len(typed) - len(prefix.typed)
    for token in OURS.tokenize(typed):
        if token.start < at:
            rest = OURS.segmenter.folded(typed[token.start :])
            assert not any(key(word).startswith(key(rest)) for word in WORDS)


@given(st.lists(st.sampled_from([*WORDS, "\u2014", "\u2026", "don\u2019t", "zzz", "two words", "", END])))
def test_ids_of(words: list[str]) -> None:
    forms = {"\u2014": "--", "\u2026": "...", "don\u2019t": "don't"}
    known = {forms.get(word, word) for word in words} & {*WORDS, END}
    assert [OURS.word(i) for i in OURS.ids_of(words)] == [w for w in [END, *WORDS] if w in known]


def test_marks_have_no_letter_or_digit() -> None:
    assert " ".join(OURS.word(i) for i in OURS.marks.tolist()) == (
        "</s> , . ! ? ( ) [ ] { } \" ' - -- ... $ /"
    )
    words = OURS.starting_with("", words_only=True).tolist()
    assert sorted(words + OURS.marks.tolist() + [OURS.unknown_id]) == list(range(len(OURS)))
    assert [OURS.word(i) for i in OURS.starting_with("'", words_only=True)] == ["'s"]


def test_half_a_surrogate_pair_is_no_text() -> None:
    for ask in (OURS.prefix, OURS.starting_with, lambda text: OURS.ids_of([text])):
        with pytest.raises(ValueError, match="lone surrogate"):
            ask("\ud800")
