"""Words that start with a prefix: `Vocabulary.starting_with`."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from tests.support.words import WORDS


def plain_starting_with(vocabulary: Vocabulary, prefix: str) -> list[int]:
    return [
        i
        for i in range(len(vocabulary))
        if i not in (vocabulary.unknown_id, vocabulary.end_id) and vocabulary.word(i).startswith(prefix)
    ]


@given(
    st.one_of(st.sampled_from(WORDS), st.text(max_size=3)).flatmap(
        lambda w: st.integers(0, len(w)).map(lambda n: w[:n])
    )
)
def test_starting_with_is_a_filter(vocabulary: Vocabulary, prefix: str) -> None:
    plain = unicodedata.normalize("NFC", prefix)
    if any(
        mark in prefix for mark in "\u2014\u2013\u2026\u2018\u2019\u201c\u201d\u02bc\u00ad-\u200b\u2060\ufeff"
    ):
        return  # normalized to something else; see below
    plain = "".join(" " if unicodedata.category(c) == "Cc" else c for c in plain).strip()
    found = vocabulary.starting_with(prefix)
    assert found.dtype == torch.int64
    assert found.tolist() == plain_starting_with(vocabulary, plain)


@given(
    st.lists(st.text(st.sampled_from("ab\u00e9\U0010ffff\ue000"), min_size=1, max_size=4), unique=True),
    st.text(st.sampled_from("ab\u00e9\U0010ffff"), max_size=3),
)
def test_starting_with_on_any_words(words: list[str], prefix: str) -> None:
    vocabulary = Vocabulary.from_words([UNKNOWN, END, *words])
    assert vocabulary.starting_with(prefix).tolist() == plain_starting_with(vocabulary, prefix)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("m", ["much", "more", "mother", "m"]),
        ("mo", ["more", "mother"]),
        ("M", []),
        ("xyz", []),
        (" mo ", ["more", "mother"]),
        ("don\u2019", ["don't"]),
        ("nai\u0308", ["na\u00efve"]),
        ("\u2014", ["--"]),
        ("\u2026", ["..."]),
        ("-", ["-", "--"]),
        ("<", ["<"]),
        ("</", []),
        ("<u", []),
        ("well known", []),
    ],
)
def test_prefixes_are_normalized_as_text_is(vocabulary: Vocabulary, prefix: str, words: list[str]) -> None:
    found = vocabulary.starting_with(prefix).tolist()
    assert found == sorted(found)
    assert sorted(vocabulary.word(i) for i in found) == sorted(words)


def test_the_empty_prefix_is_every_word(vocabulary: Vocabulary) -> None:
    assert vocabulary.starting_with("").tolist() == list(range(2, len(vocabulary)))
