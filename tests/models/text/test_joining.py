"""Words become text that reads as the same words again, in whatever pieces it is written."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.tokenization import round_trips
from models.config.tokenization import Jieba, Moses, Ours, Whitespace
from models.text.joining import Joiner, join
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from models.text.words import pieces, words
from tests.support.renderings import RENDERINGS, sample_lines

MARKS = " .,'\u2019`\"\u201c()[-\u2013\u2014\u2026sSaBI15:&+#$/\u200b\u0301\u00e9\ufb01"
EMOJI = "\U0001f469\U0001f680\U0001f3fd\U0001f1e9\U0001f1ea\u20e3\u2764\ufe0f\u200d1"
LINES = sample_lines()

texts = st.text(max_size=30) | st.text(MARKS, max_size=16) | st.text(MARKS + EMOJI, max_size=10)


@given(texts)
def test_what_is_joined_reads_as_the_same_words(text: str) -> None:
    assert words(join(words(text))) == words(text)


@given(texts, st.data())
def test_a_text_goes_on_wherever_it_is_cut(text: str, data: st.DataObject) -> None:
    check_cut(text, data.draw(st.sampled_from([0, *(end for _, _, end in pieces(text))])))


@example('"Go," he said')
@example("don't stop - the dogs' end (it's well-known)...")
@given(st.sampled_from(LINES))
def test_real_lines_go_on_wherever_they_are_cut(line: str) -> None:
    for _, _, end in pieces(line):
        check_cut(line, end)
        if line[end : end + 1] == " ":
            check_cut(line, end + 1)


def check_cut(text: str, cut: int) -> None:
    """A hyphen is one for what stands beside it, which may be cut off."""
    before = text[:cut]
    rest = [word for word, start, _ in pieces(text) if start >= cut]
    joiner = Joiner(before)
    after = "".join(map(joiner.add, rest))
    assert words(before + after) == words(before) + rest


PROMPTS = [
    "",
    " ",
    'He said "',
    "(",
    "well-",
    "it",
    "the dogs'",
    "a -",
    "U.S.",
    "\u201cHi",
    "[",
    "end.",
    "5\u2013",
]


@given(st.sampled_from(PROMPTS) | st.sampled_from(LINES), texts)
def test_a_prompt_goes_on_with_words_of_another_text(prompt: str, text: str) -> None:
    joiner = Joiner(prompt)
    rest = words(text)
    made = prompt + "".join(map(joiner.add, rest))
    # A hyphen that nothing touched in its own text but what was before it may stand alone here.
    if rest[:1] != ["-"]:
        assert words(made) == words(prompt) + rest


@pytest.mark.parametrize(
    ("before", "rest", "text"),
    [
        ("", "Thank you .", "Thank you."),
        ("Thank", "you", "Thank you"),
        ("Thank ", "you", "Thank you"),
        ('He said, "', 'Go on . "', 'He said, "Go on."'),
        ("He said, \u201cGo", 'on . " She left .', 'He said, \u201cGo on." She left.'),
        ("the (old", ") man", "the (old) man"),
        ("the (", "old ) man", "the (old) man"),
        ("well", "- known", "well-known"),
        ("well-", "known", "well-known"),
        ("well ", "-- known", "well - known"),
        ("wait\u2014", "what", "wait\u2014 what"),
        ("the U.S.", "- based", "the U.S.-based"),
        ("it", "'s mine", "it's mine"),
        ("the dogs", "' tails", "the dogs' tails"),
        ("x", "' tis fine", "x 'tis fine"),
        ("5", "- 7 % of $ 3", "5-7% of $3"),
        ("see http", ": / / x.org / a", "see http://x.org/a"),
        ("call", "+ 44 , 2 + 3", "call +44, 2 + 3"),
        ("", "... and so on ...", "...and so on..."),
        ("\U0001f469", "\U0001f680 \U0001f600", "\U0001f469 \U0001f680 \U0001f600"),
    ],
)  # fmt: skip
def test_spaces_stand_where_a_person_types_them(before: str, rest: str, text: str) -> None:
    joiner = Joiner(before)
    assert before + "".join(map(joiner.add, rest.split())) == text


@pytest.mark.parametrize("rendering", [str, *RENDERINGS], ids=lambda one: one.__name__)
def test_round_trips_of_real_lines(rendering: type) -> None:
    shares = round_trips([rendering(line) for line in LINES], of_words())
    assert shares["lines that read as the same tokens"] == 1
    assert shares["characters equal after folding"] > 0.999
    assert shares["lines equal after folding"] > 0.9


def of_words(lines: Sequence[str] = LINES) -> Vocabulary:
    every = dict.fromkeys(word for line in lines for word in words(line))
    return Vocabulary.from_words(["<unk>", "</s>", *every], SpecialWords(tokenization=Ours(version=2)))


def test_a_vocabulary_goes_on_with_a_text() -> None:
    vocabulary = of_words(["Thank you very much - it's well-known."])
    text = "Thank you \u2014 it"
    joiner = vocabulary.joiner(text, vocabulary.encode_batch([text])[0])
    assert joiner.piece("'s") == joiner.add("'s") == "'s"
    assert joiner.piece("-") == "-"
    assert joiner.piece("--") == " -"
    assert "".join(map(joiner.add, "well - known .".split())) == " well-known."


@pytest.mark.parametrize(
    ("tokenization", "before", "rest", "text"),
    [
        (Ours(), "Thank you", "very much .", "Thank you very much."),
        (Ours(), 'He said "', 'Go . "', 'He said "Go."'),
        (Whitespace(), "Thank you ", "very much .", "Thank you very much."),
        (Moses(), "It isn't", "well @-@ known", "It isn't well-known"),
        (Jieba(), "\u6211", "\u6765\u5230 \u5317\u4eac", "\u6211\u6765\u5230\u5317\u4eac"),
    ],
)
def test_other_tokenizations_go_on_in_their_own_way(
    tokenization: Ours, before: str, rest: str, text: str
) -> None:
    empty = Vocabulary.from_words(["<unk>", "</s>"], SpecialWords(tokenization=tokenization))
    known = ["<unk>", "</s>", *dict.fromkeys(empty.normalized(before))]
    vocabulary = Vocabulary.from_words(known, SpecialWords(tokenization=tokenization))
    joiner = vocabulary.joiner(before, vocabulary.encode_batch([before])[0])
    assert before + "".join(map(joiner.add, rest.split())) == text


@pytest.mark.parametrize("part", ["a-", "/", "a.b/", "\U0001f1e9", "\u2014a"], ids=ascii)
def test_a_long_prompt_without_spaces_goes_on_in_linear_time(part: str) -> None:
    prompt = part * (60_000 // len(part))
    before = time.process_time()
    joiner = Joiner(prompt)
    made = "".join(map(joiner.add, ["-", "known", ".", "She"] * 100))
    assert time.process_time() - before < 5  # reading all of it with each word takes a minute
    assert words(prompt + made) == words(prompt) + ["-", "known", ".", "She"] * 100


@pytest.mark.parametrize("word", ["-", "/", "a", "'", ".", "(", "'s"])
def test_a_long_text_is_joined_in_linear_time(word: str) -> None:
    before = time.process_time()
    join([word] * 5_000)
    assert time.process_time() - before < 5  # quadratic, it takes minutes
