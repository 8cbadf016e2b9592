"""Which version of our tokenization a bundle has stands in its files, and both are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.bundle import Bundle, BundleError
from models.config.model import ModelConfig
from models.config.tokenization import Kind, Ours
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from tests.support.tiny import tiny_bundle, tiny_config

TEXT = "The plumber\u2019s cat left.She said \u201cIt\u2019s 5\u20137\u201d - \u200bdon`t."


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_keeps_its_version(tmp_path: Path, version: int) -> None:
    path = tiny_bundle(tmp_path, version=version)  # type: ignore[arg-type]
    written = json.loads((path / "config.json").read_text())
    assert written["format_version"] == version
    assert written["tokenization"] == ({"type": "ours"} if version == 1 else {"type": "ours", "version": 2})
    loaded = Bundle.load(path, "cpu")
    assert loaded.config.tokenization == Ours(version=version)  # type: ignore[arg-type]
    again = tmp_path / "again"
    Bundle.save(again, loaded.model, loaded.vocabulary)
    for name in ("config.json", "tokenizer.json"):
        assert (again / name).read_bytes() == (path / name).read_bytes()
    words = [token.word for token in loaded.vocabulary.tokenize(TEXT)]
    assert ("'s" in words) == ("left" in words) == (version == 2)
    assert ("left.She" in words) == (version == 1)


def test_a_configuration_without_a_version_means_the_first() -> None:
    known = tiny_config().model_dump(mode="json")
    del known["tokenization"], known["format_version"]
    assert ModelConfig.model_validate_json(json.dumps(known)).tokenization == Ours(version=1)
    known["tokenization"] = {"type": "ours"}
    assert ModelConfig.model_validate_json(json.dumps(known)).tokenization == Ours(version=1)


def test_new_models_have_the_second() -> None:
    assert Kind.OURS.tokenization() == Ours(version=2)


def test_the_second_version_needs_the_second_format() -> None:
    with pytest.raises(ValidationError, match="version 2 of the tokenization needs format_version 2"):
        ModelConfig(**tiny_config().model_dump() | {"tokenization": Ours(version=2), "format_version": 1})
    second = ModelConfig(
        **tiny_config().model_dump() | {"tokenization": Ours(version=2), "format_version": 2}
    )
    assert second.with_spelling(None).format_version == 2


def test_files_of_two_versions_do_not_go_together(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "1")
    second = tiny_bundle(tmp_path / "2", version=2)
    (second / "tokenizer.json").write_bytes((first / "tokenizer.json").read_bytes())
    with pytest.raises(BundleError, match="tokenizer has rules of its own"):
        Bundle.load(second, "cpu")


def test_the_second_version_is_the_same_alone_and_in_a_batch() -> None:
    named = SpecialWords(tokenization=Ours(version=2))
    vocabulary = Vocabulary.from_words(["<unk>", "</s>", "a", "-", "--", "b" * 50], named)
    texts = ["a-a - a", "", " \u200b ", "b" * 50, "b" * 51, "a" * 50_000]
    expected = [[2, 3, 2, 4, 2], [], [], [5], [0], [0]]
    assert (
        vocabulary.encode_batch(texts) == [vocabulary.encode_batch([text])[0] for text in texts] == expected
    )
    assert [vocabulary.word(i) for i in vocabulary.starting_with("-").tolist()] == ["-", "--"]
    assert [vocabulary.word(i) for i in vocabulary.starting_with("\u2014").tolist()] == ["--"]
