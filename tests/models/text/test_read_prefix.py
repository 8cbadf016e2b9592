"""Prefixes as keyboards have them: what of one is finished, what is completed, and what replaces it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from tests.support.renderings import sample_lines

WORDS = (
    "hello Hello hel well known don't 's U.S. e.g. Node.js York york York's C++ 3.5 ( ) [ \" ' - -- ... . ,"
    " / a She left It caf\u00e9 \u2764 fine the Yes"
).split()


def vocabulary(words: list[str], tokenization: Tokenization) -> Vocabulary:
    known = list(dict.fromkeys(["<unk>", "</s>", *words]))
    return Vocabulary.from_words(known, SpecialWords(tokenization=tokenization))


second = vocabulary(WORDS, Ours(version=2))
real = vocabulary([word for line in sample_lines() for word in second.normalized(line)], Ours(version=2))


def ids_of(words: str) -> list[int]:
    return second.encode_batch([words], pretokenized=True)[0]


@pytest.mark.parametrize(
    ("prefix", "finished", "remainder", "kept"),
    [
        ("hel", "", "hel", ""),
        ('"hel', '"', "hel", '"'),
        ("\u201cHel", '"', "Hel", "\u201c"),
        ("\u00abhel", '"', "hel", "\u00ab"),
        ("(hel", "(", "hel", "("),
        ('("hel', '( "', "hel", '("'),
        ("well-kno", "well -", "kno", "well-"),
        ("well\u2010kno", "well -", "kno", "well\u2010"),
        ("well-", "well -", "", "well-"),
        ("x-well-", "x - well -", "", "x-well-"),
        ("-", "-", "", "-"),
        ("well\u2014", "well --", "", "well\u2014"),
        ("well\u2014th", "well --", "th", "well\u2014"),
        ('"', '"', "", '"'),
        ("'", "'", "", "'"),
        ("([", "( [", "", "(["),
        ('-"', '-- "', "", '-"'),
        ('"hello"', '" hello', '"', '"hello'),
        ("hello,", "hello", ",", "hello"),
        ("don\u2019", "", "don'", ""),
        ("don`t", "", "don't", ""),
        ("plumber\u2019", "plumber", "'", "plumber"),
        ("U.S", "", "U.S", ""),
        ("U.", "", "U.", ""),
        ("e.", "", "e.", ""),
        ("Node.j", "", "Node.j", ""),
        ("3.", "", "3.", ""),
        ("C+", "", "C+", ""),
        ("left.Sh", "left .", "Sh", "left."),
        ("left.S", "left .", "S", "left."),
        ("Yes.S", "Yes .", "S", "Yes."),
        ("a/h", "a /", "h", "a/"),
        ("\u200bhe\u00adl", "", "hel", "\u200b"),
        ("\ufb01n", "", "fin", ""),
        ("cafe\u0301", "", "caf\u00e9", ""),
        ("\u2764\ufe0fhel", "\u2764", "hel", "\u2764\ufe0f"),
        ("zzz", "", "zzz", ""),
        ('"zzz', '"', "zzz", '"'),
        ("", "", "", ""),
        ("\u200b", "", "", "\u200b"),
    ],
    ids=ascii,
)
def test_what_is_finished(prefix: str, finished: str, remainder: str, kept: str) -> None:
    read = second.prefix(prefix)
    assert (read.before, read.rest, read.kept) == (ids_of(finished), remainder, kept)
    assert read.completion("word") == kept + "word"


def test_case_may_be_ignored() -> None:
    def found(prefix: str, ignore_case: bool) -> list[str]:
        read = second.prefix(prefix, ignore_case)
        return [second.word(i) for i in second.starting_with(read.rest, ignore_case).tolist()]

    assert found("y", False) == ["york"]
    assert found("y", True) == ["York", "york", "York's", "Yes"]
    assert found('"YORK', True) == ["York", "york", "York's"]
    assert found("u.s", True) == ["U.S."]
    assert found("(NODE", True) == ["Node.js"]
    assert second.prefix("hel-HEL").before == ids_of("hel -")


@given(st.sampled_from(sample_lines()), st.data())
def test_typing_a_real_line(line: str, data: st.DataObject) -> None:
    """Wherever typing stands within a word, that word is offered, and the text it makes is the line's."""
    tokens = real.tokenize(line)
    at = data.draw(st.integers(0, len(tokens) - 1))
    token = tokens[at]
    typed = line[: data.draw(st.integers(token.start + 1, token.end))]
    prefix = typed[typed.rfind(" ") + 1 :]
    before = real.encode_batch([typed[: len(typed) - len(prefix)]])[0]
    read = real.prefix(prefix)
    kept = line[len(typed) - len(prefix) :].startswith(read.kept)
    assert kept
    finished = [*before, *read.before]
    ids = [one.id for one in tokens]
    if len(read.kept) + len(typed) - len(prefix) == token.start:
        assert finished == ids[:at]
        assert token.id in real.starting_with(read.rest)
    elif read.rest == "":
        assert finished == ids[: at + 1] or tokens[at].form in ("--", "-")
    else:  # an earlier token may begin a word, as it' does of it'll
        assert len(read.kept) + len(typed) - len(prefix) < token.start
        assert finished == ids[: len(finished)]


@given(st.text(max_size=12), st.booleans())
def test_any_prefix(prefix: str, ignore_case: bool) -> None:
    read = second.prefix(prefix, ignore_case)
    assert prefix.startswith(read.kept)
    assert all(0 <= i < len(second) for i in read.before)
    second.starting_with(read.rest, ignore_case)


@pytest.mark.parametrize(
    ("tokenization", "prefix", "finished", "remainder", "kept"),
    [
        (Ours(), "\u201chel", '"', "hel", "\u201c"),
        (Ours(), "well-", "well -", "", "well-"),
        (Whitespace(), "hel", "", "hel", ""),
        (Whitespace(), '"hel', "", '"hel', ""),
        (Whitespace(lowercase=True), "HEL", "", "hel", ""),
        (Moses(), '"hel', '"', "hel", '"'),
        (Jieba(), "\u6211\u6765\u5230\u5317", "\u6211 \u6765\u5230", "\u5317", "\u6211\u6765\u5230"),
    ],
    ids=ascii,
)
def test_other_tokenizations(
    tokenization: Tokenization, prefix: str, finished: str, remainder: str, kept: str
) -> None:
    known = vocabulary([*WORDS, "\u6211", "\u6765\u5230", "\u5317\u4eac"], tokenization)
    read = known.prefix(prefix)
    before = known.encode_batch([finished], pretokenized=True)[0]
    assert (read.before, read.rest, read.kept) == (before, remainder, kept)


@pytest.mark.parametrize("prefix", ["\ud800", "a\udfff"])
def test_lone_surrogates(prefix: str) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        second.prefix(prefix)


def test_a_keystroke_is_fast_in_a_large_vocabulary() -> None:
    large = vocabulary([f"w{i:x}" for i in range(100_000)], Ours(version=2))
    large.starting_with("w", ignore_case=True)
    before = time.process_time()
    for i in range(1000):
        read = large.prefix(f'"W{i:x}1', ignore_case=True)
        large.starting_with(read.rest, ignore_case=True)
    assert time.process_time() - before < 6  # a scan of all words takes 10 ms and more each


def test_words_of_a_request() -> None:
    ids = {second.word(i): i for i in range(len(second))}
    assert second.ids_of(["</s>", "hello", "don\u2019t", "zzz", "well known", "", "\u2014"]) == sorted(
        [1, ids["hello"], ids["don't"], ids["--"]]
    )
    assert [second.word(i) for i in second.marks.tolist()] == [
        "</s>", *(word for word in WORDS if not any(map(str.isalnum, word))),
    ]  # fmt: skip
    assert [second.word(i) for i in second.variants("YORK")] == ["York", "york"]
    assert second.variants("'S") == [ids["'s"]]
    assert second.variants("zzz") == second.variants("</s>") == []
    assert second.case_variants(ids["york"]) == [ids["York"], ids["york"]]
    assert second.case_variants(second.unknown_id) == [second.unknown_id]
