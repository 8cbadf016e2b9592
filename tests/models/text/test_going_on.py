"""Words that go on with a text: what is told of long texts and of other tokenizations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.joining import Joiner, Rendered
from models.text.spacing import join, join_moses
from models.text.words import words

TOKENS = "a the don't 's well known . , ( ) \" ' - -- $ / @-@ 5".split()


@pytest.mark.parametrize("joined", [join, join_moses])
@given(st.lists(st.sampled_from(TOKENS), max_size=80), st.lists(st.sampled_from(TOKENS), max_size=6))
def test_the_older_words_of_a_text_matter_by_their_quotations_alone(
    joined: Callable[[Sequence[str]], str], before: list[str], after: list[str]
) -> None:
    rendered = Rendered(joined, before, glue=False)
    made = "".join([rendered.add(word) for word in after])
    texts = [joined([*before, *after[:count]]) for count in range(len(after) + 1)]
    if all(longer.startswith(text) for text, longer in pairwise(texts)):
        assert texts[0] + made == texts[-1]
    else:  # What is written stays: each word is added once.
        assert made.replace(" ", "") == "".join(after).replace("@-@", "-").replace("--", "-")


def test_after_white_space_no_space_is_added() -> None:
    rendered = Rendered(join, ["the"], glue=True)
    assert rendered.piece("well") == "well"
    assert rendered.add("well") + rendered.add("known") == "well known"
    assert Rendered(join, [], glue=False).add("the") == "the"


@pytest.mark.parametrize("text", ["a" * 500_000, "a-" * 250_000, '"' * 500_001, "\u4f60" * 500_000])
def test_a_text_without_spaces_takes_no_longer_a_word(text: str) -> None:
    joiner = Joiner(text)
    began = process_time()
    added = "".join([joiner.add(word) for word in ["the", "-", "well", ".", '"'] * 10])
    assert process_time() - began < 1
    assert words(text[-1000:] + added)[-40:] == (["the", "-", "well", ".", '"'] * 10)[-40:]


def test_a_long_prompt_takes_no_longer_a_word() -> None:
    rendered = Rendered(join, ["the", '"'] * 200_000, glue=False)
    began = process_time()
    for _ in range(200):
        rendered.add("the")
    assert process_time() - began < 1
