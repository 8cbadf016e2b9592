"""Unknown words of a text, and what a character of it costs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from models.config.tokenization import Jieba, Ours
from models.spelling.spelling_model import SpellingModel
from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from models.training.corpus import UNKNOWN_WORDS, CorpusOptions, characters, prepare
from models.training.evaluation import BitsPerCharacter, Evaluation
from models.training.spelling import bits_per_character, log_probability, spelling_of_corpus, unknown_words
from models.training.unknown_words import UnknownWords

LINES = [
    "it is \u2013 \u201cplain\u201d",
    "the planes, it is",
    "it is",
    "a plain\u2019s",
    "plane it is plane",
]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_unknown_words_are_counted_in_the_vocabularys_form(text: Path) -> None:
    vocabulary = Vocabulary.from_words([UNKNOWN, END, "it", "is", ",", '"'])
    heard: list[int] = []
    found = unknown_words([text], vocabulary, Ours(), 5, heard.append)
    assert found.train.pop("plain") == 1
    assert sum(count for word, count in found.train.items() if word.startswith("plain'")) <= 1
    assert found.train["plane"] == 2
    assert found.train["planes"] == 1
    assert found.train["--"] == 1
    assert found.heldout == {}
    assert found.characters == len("it is") + 1
    assert heard == [len(line) for line in LINES]


def test_a_corpus_keeps_what_its_vocabulary_lacks(text: Path, tmp_path: Path) -> None:
    corpus = prepare([text], tmp_path / "out", CorpusOptions(vocabulary_size=5, holdout_every=4))
    unknown = UnknownWords.load(tmp_path / "out" / UNKNOWN_WORDS)
    assert unknown == unknown_words([text], corpus.vocabulary, Ours(), 4)
    assert unknown.train
    known = sum(corpus.counts[2:])
    assert sum(unknown.train.values()) == corpus.counts[0] == len(corpus.train) - known - corpus.counts[1]
    spelling, again = spelling_of_corpus(tmp_path / "out", corpus.vocabulary)
    assert again == unknown
    assert spelling is not None
    assert spelling.config == SpellingModel.train(unknown.train, corpus.vocabulary).config


def test_a_corpus_of_an_earlier_version_is_read_again(text: Path, tmp_path: Path) -> None:
    options = CorpusOptions(vocabulary_size=5, holdout_every=4)
    before = prepare([text], tmp_path / "out", options)
    tokens = before.train.tolist()
    (tmp_path / "out" / UNKNOWN_WORDS).unlink()
    after = prepare([text], tmp_path / "out", options)
    assert after.train.tolist() == tokens
    assert (tmp_path / "out" / UNKNOWN_WORDS).exists()


def test_a_vocabulary_of_every_word_needs_no_spelling(tmp_path: Path) -> None:
    UnknownWords({}, {}, 3).save(tmp_path / UNKNOWN_WORDS)
    assert spelling_of_corpus(tmp_path, Vocabulary.from_words([UNKNOWN, END, "a"]))[0] is None


@pytest.mark.parametrize("content", ["", "[]", '{"train": {}}', '{"train": {}, "heldout": {}, "size": 1}'])
def test_what_are_no_unknown_words(tmp_path: Path, content: str) -> None:
    (tmp_path / UNKNOWN_WORDS).write_text(content)
    with pytest.raises(ValueError, match=UNKNOWN_WORDS):
        UnknownWords.load(tmp_path / UNKNOWN_WORDS)


def test_characters_of_a_line() -> None:
    assert characters("it is", Ours()) == 6
    assert characters("我 们", Jieba()) == 3


def test_bits_a_character_pay_for_every_one() -> None:
    vocabulary = Vocabulary.from_words([UNKNOWN, END, "a"])
    spelling = SpellingModel.train({"plain": 3, "plane": 2}, vocabulary)
    plain, other = spelling.logprob(["plain", "other"])
    words = {"plain": 3, "other": 1}
    assert log_probability(spelling, words) == pytest.approx(3 * plain + other)
    assert bits_per_character(spelling, words) == pytest.approx(-(3 * plain + other) / 24 / math.log(2))
    assert math.isnan(bits_per_character(spelling, {}))
    text = Evaluation(words=9, lines=1, unknown=4, log_probability=-20 * math.log(2))
    assert BitsPerCharacter.of(text, 40, words, None) == BitsPerCharacter(pytest.approx(0.5), None)
    bits = BitsPerCharacter.of(text, 40, words, spelling)
    assert bits.with_class == pytest.approx(0.5)
    assert bits.spelled == pytest.approx(0.5 - (3 * plain + other) / 40 / math.log(2))
