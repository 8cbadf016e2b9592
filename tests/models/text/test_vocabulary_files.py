"""`tokenizer.json`: written, read, and refused if it is not a vocabulary of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel

from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from tests.support.words import WORDS, surfaces


def test_save_and_load(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "tokenizer.json")
    loaded = Vocabulary.load(tmp_path / "tokenizer.json")
    text = 'The "well\u2014known" caf\u00e9: zebra\u2019s\u2026 3.5%'
    assert loaded.tokenize(text) == vocabulary.tokenize(text)
    assert [loaded.word(i) for i in range(len(loaded))] == [UNKNOWN, END, *WORDS]
    assert loaded.starting_with("m").tolist() == vocabulary.starting_with("m").tolist()


def test_words_must_be_distinct() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary.from_words([UNKNOWN, END, "a", "a"])


@pytest.mark.parametrize("missing", [UNKNOWN, END])
def test_special_words_must_be_there(missing: str) -> None:
    with pytest.raises(ValueError, match=f"vocabulary has no '{missing}'"):
        Vocabulary.from_words([word for word in (UNKNOWN, END, "a") if word != missing])


def altered(vocabulary: Vocabulary, path: Path, change: Callable[[Tokenizer], object]) -> Path:
    vocabulary.save(path)
    tokenizer = Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tokenizer: tokenizer.add_tokens(["brandnew"]),
         "tokenizer has added tokens beside its vocabulary"),
        (lambda tokenizer: setattr(tokenizer, "model", WordLevel({UNKNOWN: 0, END: 1}, unk_token=END)),
         "tokenizer does not give '<unk>' for unknown words"),
        (lambda tokenizer: setattr(tokenizer, "model", BPE({UNKNOWN: 0, END: 1}, [])),
         "tokenizer does not give '<unk>' for unknown words"),
        (lambda tokenizer: setattr(tokenizer, "model", WordLevel({UNKNOWN: 0, END: 2}, unk_token=UNKNOWN)),
         "vocabulary ids must be 0, 1, 2, ... without a gap"),
    ],
    ids=["added tokens", "other unknown word", "not words", "gap"],
)  # fmt: skip
def test_a_tokenizer_that_is_no_vocabulary(
    vocabulary: Vocabulary, tmp_path: Path, change: Callable[[Tokenizer], object], message: str
) -> None:
    path = altered(vocabulary, tmp_path / "tokenizer.json", change)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Vocabulary.load(path)


def test_a_text_is_never_cut_or_padded(vocabulary: Vocabulary, tmp_path: Path) -> None:
    def change(tokenizer: Tokenizer) -> None:
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=9)

    loaded = Vocabulary.load(altered(vocabulary, tmp_path / "tokenizer.json", change))
    assert surfaces(loaded, "the the the") == ["the"] * 3
    assert loaded.encode_batch(["a", "a the"]) == [[6], [6, 2]]


def test_a_tokenizer_without_normalization(vocabulary: Vocabulary, tmp_path: Path) -> None:
    loaded = Vocabulary.load(
        altered(
            vocabulary, tmp_path / "tokenizer.json", lambda tokenizer: setattr(tokenizer, "normalizer", None)
        )
    )
    assert loaded.starting_with("mo").tolist() == vocabulary.starting_with("mo").tolist()
    assert loaded.starting_with(" mo").tolist() == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "Odd"}}'])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"^tokenizer\.json: ") as error:
        Vocabulary.load(tmp_path / "tokenizer.json")
    assert "\n" not in str(error.value)
