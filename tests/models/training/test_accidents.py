"""Accidents of typing are no words of a vocabulary, however often they occur."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.text.words import words
from models.training.accidents import accidents
from models.training.corpus import CorpusOptions, prepare, word_counts
from tests.support.renderings import sample_lines

COUNTS = Counter({
    "she": 900, "hotel": 300, "js": 20, "com": 9, "com.": 1, "json": 2, "NET": 5,
    "left.she": 50, "the.hotel": 50, "Node.js": 30, "example.com": 4, "www.example.com": 6, "package.json": 3,
    "ASP.NET": 4, "U.S.": 40, "e.g.": 40, "U.S": 4, "Ph.D.": 5, "M.Sc.": 5, "3.5": 7, "1.x": 4, "X.509": 3,
})  # fmt: skip


def test_a_full_stop_whose_space_is_missing() -> None:
    assert accidents(COUNTS) == {"left.she", "the.hotel", "ASP.NET"}


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("7f3a9c1b", True), ("a1b2c3", True), ("68EC030", False), ("wav2vec", False), ("mp3", False),
        ("12345678", True), ("1234567", False), ("2019", False), ("1,000,000", False), ("x" * 41, True),
        ("pseudorhombicuboctahedron", False), ("\ufffd", True), ("a\ufffdb", True), ("\ue000", True),
        ("\u0301", True), ("!\u0301", True), ("x\u0323", False), ("\u00e9t", False), ("\U0001f600", False),
        ("\u00b0", False), ("\u6c49\u5b57", False),
    ],
    ids=ascii,
)  # fmt: skip
def test_other_accidents(word: str, is_one: bool) -> None:
    assert (word in accidents({word: 1000})) is is_one


def written(path: Path) -> Path:
    lines = [
        "It is 5 pm.Is it? It was good.I said so.It is \ufe0f here.she left \u200b she",
        "The id of Node.js is 7f3a9c1b",
    ]
    path.write_text("\n".join([*sample_lines()[:100], *lines * 50]), encoding="utf-8")
    return path


def test_none_of_them_is_in_a_vocabulary(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt")
    every = {word for line in file.read_text("utf-8").splitlines() for word in words(line)}
    never = {"here.she", "7f3a9c1b"}
    assert never < every
    corpus = prepare([file], tmp_path / "out", CorpusOptions(vocabulary_size=400, holdout_every=50))
    vocabulary = {corpus.vocabulary.word(i) for i in range(400)}
    assert vocabulary - {"<unk>", "</s>"} < every - never
    assert not any("\ufe0f" in word or "\u200b" in word for word in vocabulary)
    assert {"pm", "good", "I", "Is", "Node.js"} < vocabulary
    assert corpus.counts[0] >= 90  # they are unknown words


def test_counts_of_a_vocabulary_leave_them_out(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt")
    corpus = prepare([file], tmp_path / "out", CorpusOptions(vocabulary_size=100, holdout_every=50))
    assert word_counts([file], 100).sum() == len(corpus.train) + len(corpus.heldout)
