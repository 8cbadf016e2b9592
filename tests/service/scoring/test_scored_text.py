"""What is made of tokens and log-probabilities: entries, sums, lines."""

import math
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.benchmarking.text import SAMPLE
from models.bundle import Bundle
from models.text.folding import invisible
from service.scoring.scored_text import ScoredText
from service.scoring.sentences import check_regions, sentences
from service.scoring.unknown_words import UnknownWords

LINES = SAMPLE.read_text("utf-8").splitlines()
TEXTS = (
    st.sampled_from(LINES)
    | st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            ["well-known", " ", "\u201cHi\u201d", "\n", "U.S.", "\u2014", "don\u2019t", "\ufeff", "\t"]
        )
    ).map("".join)
)


def is_nothing(text: str) -> bool:
    """Whether it shows nothing: white space, controls, invisible characters."""
    return all(char.isspace() or char in invisible or unicodedata.category(char) == "Cc" for char in text)


def scored(bundle: Bundle, text: str, end: bool = True, lines: bool = False) -> ScoredText:
    """With log-probabilities that depend on a token's number alone; unknown words cost their class."""
    [of_text] = sentences(bundle.vocabulary, [text], end_of_sentence=end, lines=lines)
    draw = random.Random(1)
    values = [[-20 * draw.random() for _ in sentence] for sentence in of_text]
    return ScoredText.of(text, of_text, values, UnknownWords.of(bundle, "class", None), 0.0, lines)


@given(TEXTS, st.booleans())
def test_slices_are_in_order_and_cover_what_can_be_seen(spelled: Bundle, text: str, lines: bool) -> None:
    entries = scored(spelled, text, lines=lines).result()["words"]
    at = 0
    for entry in entries:
        assert at <= entry["start"] <= entry["end"]
        assert is_nothing(text[at : entry["start"]])
        if entry["start"] < entry["end"]:
            assert entry["word"] == text[entry["start"] : entry["end"]]
        else:
            assert entry["word"] == "</s>"
        at = entry["end"]
    assert entries[-1]["word"] == "</s>"
    assert lines or entries[-1]["start"] == len(text)
    assert is_nothing(text[at:])


@given(TEXTS, st.booleans(), st.booleans())
def test_words_between_white_space(spelled: Bundle, text: str, end: bool, lines: bool) -> None:
    found = scored(spelled, text, end, lines)
    tokens, words = found.result()["words"], found.result(group="space")["words"]
    ends = [word for word in words if word["start"] == word["end"]]
    assert [word["word"] for word in ends] == ["</s>"] * len(ends)
    # Python's own split; what shows nothing at all is no word.
    seen = [word for word in text.split() if not is_nothing(word)]
    assert [word["word"] for word in words if word not in ends] == seen
    for word in words:
        inside = [
            token
            for token in tokens
            if word["start"] <= token["start"] and token["end"] <= word["end"]
            if (token["start"] == token["end"]) == (word in ends)
        ]
        assert word["tokens"] == len(inside)
        assert word["unknown_words"] == sum(not token["known"] for token in inside)
        assert word["known"] == (word["unknown_words"] == 0)
        assert word["logprob"] == pytest.approx(math.fsum(token["logprob"] for token in inside), abs=1e-6)
    assert sum(word["tokens"] for word in words) == len(tokens)
    same = found.result(group="space") | {"words": tokens}
    assert repr(same) == repr(found.result())


@given(TEXTS, st.data())
def test_regions_are_sums_of_their_tokens(spelled: Bundle, text: str, data: st.DataObject) -> None:
    found = scored(spelled, text)
    tokens = [token for token in found.result()["words"] if token["start"] < token["end"]]
    edges = sorted({0, len(text), *(token[edge] for token in tokens for edge in ("start", "end"))})
    pairs = st.tuples(st.sampled_from(edges), st.sampled_from(edges)).map(sorted).map(tuple)
    regions: list[tuple[int, int]] = data.draw(st.lists(pairs, max_size=4))
    check_regions(text, found.tokens, regions, "regions")
    words = found.result(regions=regions)["words"]
    assert [(word["start"], word["end"]) for word in words] == regions
    for word, (start, end) in zip(words, regions, strict=True):
        inside = [token for token in tokens if start <= token["start"] and token["end"] <= end]
        assert word["word"] == text[start:end]
        assert (word["tokens"], word["unknown_words"]) == (
            len(inside),
            sum(not token["known"] for token in inside),
        )
        assert word["logprob"] == pytest.approx(math.fsum(token["logprob"] for token in inside), abs=1e-6)


def test_lines_add_up(spelled: Bundle) -> None:
    text = "Thank you.\r\n\r\n  \nthe frozen quiz\rof the\n"
    result = scored(spelled, text, lines=True).result()
    assert [(line["word_count"], line["unknown_words"]) for line in result["lines"]] == [
        (4, 0),
        (4, 2),
        (3, 0),
    ]
    assert sum(line["word_count"] for line in result["lines"]) == result["word_count"] == 11
    assert math.fsum(line["logprob"] for line in result["lines"]) == pytest.approx(
        result["logprob"], abs=1e-5
    )
    for line in result["lines"]:
        assert line["perplexity"] == pytest.approx(math.exp(-line["logprob"] / line["word_count"]), rel=1e-5)
    ends = [word["start"] for word in result["words"] if word["word"] == "</s>"]
    assert ends == [10, 32, 39]
    assert "lines" not in scored(spelled, text).result()


def test_known_words_have_a_perplexity_of_their_own(spelled: Bundle) -> None:
    result = scored(spelled, "the quiz of the plane").result()
    known = [word["logprob"] for word in result["words"] if word["known"]]
    assert (len(known), result["unknown_words"]) == (4, 2)
    assert result["known_perplexity"] == pytest.approx(math.exp(-math.fsum(known) / 4), rel=1e-6)
    assert math.isnan(scored(spelled, "quiz", end=False).result()["known_perplexity"])


def test_what_differs_is_told(spelled: Bundle) -> None:
    words = scored(spelled, "\u201cdon\u2019t \ufb01b\u00ad").result()["words"]
    assert [(word["word"], word.get("token")) for word in words] == [
        ("\u201c", '"'),
        ("don\u2019t", "don't"),
        ("\ufb01b", "fib"),
        ("</s>", None),
    ]
