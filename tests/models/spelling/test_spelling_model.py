"""SpellingModel: words of the vocabulary taken out, the rest sharing one, and the same again from disk."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.benchmarking import openings
from models.config.tokenization import Ours
from models.spelling.kneser_ney import KneserNey
from models.spelling.spelling_model import SPELLING, SpellingModel
from models.text.tokenizer import END, UNKNOWN, splitter
from models.text.vocabulary import Vocabulary

SAMPLE = Path(openings.__file__).with_name("sample.txt")


def vocabulary_of(*words: str) -> Vocabulary:
    return Vocabulary.from_words([UNKNOWN, END, *words])


@pytest.fixture(scope="module")
def sample() -> SpellingModel:
    """Of the text that ships with the benchmarks: 2,000 words that are not among its 500 most frequent."""
    split = splitter(Ours())
    counts = Counter(word for line in SAMPLE.read_text().splitlines() for word in split(line))
    common = [word for word, _ in counts.most_common(500)]
    return SpellingModel.train(counts, vocabulary_of(*common))


def test_words_of_the_vocabulary_are_taken_out_and_the_rest_is_one() -> None:
    """All strings of up to nine letters, beside the same n-grams over a vocabulary without words."""
    words = {"a": 9, "b": 5, "ab": 4, "ba": 2, "aab": 1}
    ngrams = KneserNey(words, 3).pruned(1000)
    vocabulary = vocabulary_of("a", "ab", "bb", "zebra")
    strings = ["".join(letters) for n in range(1, 10) for letters in product("ab", repeat=n)]
    q = dict(zip(strings, np.exp(ngrams.logprob(strings)), strict=True))
    taken = sum(q[word] for word in ("a", "ab", "bb")) + sum(
        math.exp(ngrams.logprob([word])[0]) for word in ("zebra", UNKNOWN, END)
    )
    found = SpellingModel.over(ngrams, vocabulary).logprob(strings)
    for string, logprob in zip(strings, found, strict=True):
        if string in vocabulary:
            assert logprob == -math.inf
        else:
            assert math.exp(logprob) == pytest.approx(q[string] / (1 - taken), rel=1e-12)


def test_vocabulary_words_cost_everything(sample: SpellingModel) -> None:
    assert sample.logprob(["the", UNKNOWN, END, "", "a b"]) == [-math.inf] * 5
    assert sample.logprob([]) == []


def test_nonsense_costs_more_a_character_than_rare_words(sample: SpellingModel) -> None:
    def bits(words: str) -> float:
        listed = words.split()
        return -sum(sample.logprob(listed)) / sum(len(word) + 1 for word in listed) / math.log(2)

    english = bits("plumbers Wellington unharmed gardened marketable recounting bettering schoolroom")
    invented = bits("Blorf znaq wibble frozzle quexty mernip drosk flarn")
    shuffled = bits("pmlrusbe glntionWlei ddnrgaee aretbkmlea enoungrcit treitbgne rholoocosm")
    noise = bits("kxqzt xq%z7 zzzzzz qwrtzx 漢字")
    assert english + 0.3 < invented < noise
    assert english + 0.7 < shuffled < noise


def test_words_come_as_often_as_their_kind(sample: SpellingModel) -> None:
    gherkin, nonsense = sample.logprob(["gherkin", "kxqzt"])
    assert gherkin > nonsense + 2  # though it is two characters longer


def test_the_size_on_disk_is_kept(tmp_path: Path) -> None:
    draw = random.Random(1)
    words = {"".join(draw.choices("abcdefgh", k=8)): 1 for _ in range(2000)}
    vocabulary = vocabulary_of("word")
    sizes = {}
    for size in (4_000, 12_000, 10**9):
        model = SpellingModel.train(words, vocabulary, size=size)
        model.save(tmp_path)
        sizes[size] = (tmp_path / SPELLING).stat().st_size
        assert 0.7 * min(size, 20_000) < sizes[size] <= size
    assert sizes[10**9] > 12_000
    with pytest.raises(ValueError, match=r"distinct characters take more than 100 bytes"):
        SpellingModel.train(words, vocabulary, size=100)


def test_the_vocabulary_itself_teaches(sample: SpellingModel) -> None:
    vocabulary = vocabulary_of(*"nation station relation elation creation rotation".split())
    model = SpellingModel.train({"x": 1}, vocabulary)
    natural, odd = model.logprob(["dation", "onitad"])
    assert natural > odd + 2


@pytest.mark.parametrize("words", [{}, {"known": 3}])
def test_nothing_to_learn(words: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no word that the vocabulary lacks"):
        SpellingModel.train(words, vocabulary_of("known"))


# -- on disk -------------------------------------------------------------------------------------------

VOCABULARY = vocabulary_of("known", "words")


@pytest.fixture
def saved(tmp_path: Path) -> SpellingModel:
    model = SpellingModel.train({"plain": 3, "plane": 2, "的": 1}, VOCABULARY, order=3)
    model.save(tmp_path)
    return model


def test_what_was_saved_is_loaded_to_the_bit(saved: SpellingModel, tmp_path: Path) -> None:
    loaded = SpellingModel.load(tmp_path, saved.config, VOCABULARY)
    words = ["plain", "plan", "的的", "xyz", "known", "\U0001f600"]
    assert loaded.logprob(words) == saved.logprob(words)
    assert loaded.config == saved.config
    content = (tmp_path / SPELLING).read_bytes()
    loaded.save(tmp_path)
    assert (tmp_path / SPELLING).read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [SPELLING]


def test_training_is_reproducible(saved: SpellingModel) -> None:
    assert SpellingModel.train({"的": 1, "plane": 2, "plain": 3}, VOCABULARY, order=3).config == saved.config


def change(path: Path, name: str, value: np.ndarray[Any, Any]) -> None:
    save_file(load_file(path) | {name: value}, path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda path: path.unlink(), "No such file"),
    "empty": (lambda path: path.write_bytes(b""), "header"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:400]), "(?i)header"),
    "large": (lambda path: path.write_bytes(b" " * 3_000_000), "is larger than"),
    "a tensor more": (lambda path: change(path, "more", np.ones(1, np.uint8)), "unknown tensor more"),
    "floats": (lambda path: change(path, "codes.1", np.ones(9, np.float32)), "codes.1 is float32"),
    "another's": (
        lambda path: SpellingModel.train({"plain": 3, "plant": 2}, VOCABULARY, order=3).save(path.parent),
        "made for another vocabulary, or is not the file",
    ),
}


@pytest.mark.parametrize(("break_it", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused(
    saved: SpellingModel, tmp_path: Path, break_it: Callable[[Path], object], fault: str
) -> None:
    break_it(tmp_path / SPELLING)
    with pytest.raises(ValueError, match=fault) as raised:
        SpellingModel.load(tmp_path, saved.config, VOCABULARY)
    assert str(tmp_path / SPELLING) in str(raised.value)


@pytest.mark.parametrize("words", [("known", "word"), ("words", "known"), ("known", "words", "more")])
def test_another_vocabulary_is_refused(saved: SpellingModel, tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="made for another vocabulary"):
        SpellingModel.load(tmp_path, saved.config, vocabulary_of(*words))
