"""`headfirst spell`: a bundle of any origin learns to spell."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from models.config.model import ModelConfig
from models.config.tokenization import Whitespace
from models.spelling.spelling_model import SPELLING
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from tests.support.commands import refusal, run
from tests.support.tiny import tiny_bundle, tiny_config, tiny_model, tiny_words


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path)


def write_text(path: Path, lines: int, seed: int = 1) -> Path:
    """Lines in which every other word is of two syllables that the vocabulary has as words of their own."""
    draw = random.Random(seed)
    words = [word for word in tiny_words() if word.isalpha()]
    text = "\n".join(
        " ".join(draw.choice(words) + draw.choice(["", draw.choice(words)]) for _ in range(9))
        for _ in range(lines)
    )
    with lzma.open(path, "wt", encoding="utf-8") if path.suffix == ".xz" else path.open("w") as file:
        file.write(text)
    return path


def test_a_bundle_learns_to_spell(path: Path, tmp_path: Path) -> None:
    one, other = write_text(tmp_path / "one.txt", 200), write_text(tmp_path / "two.txt.xz", 100, seed=2)
    weights = (path / "model.safetensors").read_bytes()
    result = run("spell", path, "--text", one, "--text", other)
    assert result.exit_code == 0, result.stderr
    assert "bits a character" in result.stdout
    assert "held-out unknown words" in result.stdout
    assert f"wrote {path / SPELLING}" in result.stdout.replace("\n", "")
    bundle = Bundle.load(path, "cpu")
    assert bundle.spelling is not None
    likely, unlikely = bundle.spelling.logprob(["bannest", "xzqjw"])
    assert likely > unlikely + 5
    assert (path / "model.safetensors").read_bytes() == weights
    assert sorted(file.name for file in path.iterdir()) == sorted(
        ["README.md", "config.json", "model.safetensors", SPELLING, "tokenizer.json"]
    )


def test_again_on_other_text_the_model_is_another(path: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path / "one.txt", 50)
    assert run("spell", path, "--text", text).exit_code == 0
    first = (path / SPELLING).read_bytes()
    assert run("spell", path, "--text", text).exit_code == 0
    assert (path / SPELLING).read_bytes() == first
    assert (
        run("spell", path, "--text", write_text(tmp_path / "two.txt", 50, seed=3), "--order", "3").exit_code
        == 0
    )
    assert (path / SPELLING).read_bytes() != first
    spelling = Bundle.load(path, "cpu").spelling
    assert spelling is not None
    assert spelling.ngrams.order == 3


def test_a_bundle_of_another_tokenization(tmp_path: Path) -> None:
    path = tmp_path / "other"
    config = ModelConfig(**tiny_config().model_dump() | {"tokenization": Whitespace(lowercase=True)})
    vocabulary = Vocabulary.from_words(tiny_words(), SpecialWords.of(config))
    Bundle.save(path, tiny_model(config), vocabulary, dtype=torch.float32)
    text = tmp_path / "text.txt"
    text.write_text("Well-known things, <unk> things\n")
    assert run("spell", path, "--text", text).exit_code == 0
    spelling = Bundle.load(path, "cpu").spelling
    assert spelling is not None
    assert set("well-knownthings,") <= set(spelling.ngrams.alphabet.characters)
    assert not {"W", "<"} & set(spelling.ngrams.alphabet.characters) - set("".join(tiny_words()[2:]))


def test_what_cannot_be_learned_from(path: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    known = tmp_path / "known.txt"
    known.write_text("the . the .\n")
    assert "no word that the vocabulary lacks" in refusal(run("spell", path, "--text", known))
    assert "no such file" in refusal(run("spell", path, "--text", tmp_path / "none.txt"))
    assert "no such directory" in refusal(run("spell", tmp_path / "none", "--text", known))
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_one_line_holds_nothing_out(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("unheard-of plain\n")
    result = run("spell", path, "--text", text)
    assert "no unknown word was held out" in result.stdout
