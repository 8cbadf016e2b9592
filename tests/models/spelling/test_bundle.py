"""A spelling model as a part of a bundle: format version 2, written in steps that each leave a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Bundle, BundleError, write_spelling
from models.spelling import spelling_model
from models.spelling.spelling_model import SPELLING, SpellingModel
from models.text.vocabulary import Vocabulary
from tests.support.broken_bundles import Break, assert_refused, each
from tests.support.tiny import tiny_model, tiny_words

VOCABULARY = Vocabulary.from_words(tiny_words())
FIRST = SpellingModel.train({"plain": 3, "plane": 2}, VOCABULARY)
SECOND = SpellingModel.train({"quick": 3, "quiz": 2}, VOCABULARY, order=3)
WORDS = ["plain", "quick", "quit"]


@pytest.fixture
def spelled(tmp_path: Path) -> Path:
    Bundle.save(tmp_path / "b", tiny_model(), VOCABULARY, spelling=FIRST)
    return tmp_path / "b"


def config(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((path / "config.json").read_text())
    return found


def costs(path: Path) -> list[float] | None:
    spelling = Bundle.load(path).spelling
    return None if spelling is None else spelling.logprob(WORDS)


def test_a_bundle_brings_its_spelling_model(spelled: Path) -> None:
    assert costs(spelled) == FIRST.logprob(WORDS)
    assert config(spelled)["format_version"] == 2
    bundle = Bundle.load(spelled)
    assert bundle.config.spelling == FIRST.config
    assert bundle.model.config == bundle.config


def test_without_one_it_is_of_version_1(path: Path) -> None:
    assert costs(path) is None
    assert config(path)["format_version"] == 1
    assert "spelling" not in config(path)


def test_saved_without_one_an_earlier_one_is_gone(spelled: Path) -> None:
    Bundle.save(spelled, Bundle.load(spelled).model, VOCABULARY)
    assert costs(spelled) is None
    assert not (spelled / SPELLING).exists()
    assert config(spelled)["format_version"] == 1


def test_another_takes_its_place(spelled: Path) -> None:
    before = {file.name: file.read_bytes() for file in spelled.iterdir()}
    write_spelling(spelled, Bundle.load(spelled).config, SECOND)
    assert costs(spelled) == SECOND.logprob(WORDS)
    after = {file.name: file.read_bytes() for file in spelled.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {SPELLING, "config.json"}
    assert after.keys() == before.keys()


@pytest.mark.parametrize("step", range(4))
def test_stopped_at_any_step_it_loads(spelled: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Replacing files is what takes effect; here the process ends instead of the step's replacement."""
    replace, left = Path.replace, [step]

    def counted(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(self, target)

    bundle = Bundle.load(spelled)
    monkeypatch.setattr(Path, "replace", counted)
    if step < 3:
        with pytest.raises(KeyboardInterrupt):
            write_spelling(spelled, bundle.config, SECOND)
    else:
        write_spelling(spelled, bundle.config, SECOND)
    monkeypatch.undo()
    assert costs(spelled) == [FIRST.logprob(WORDS), None, None, SECOND.logprob(WORDS)][step]


def edit(path: Path, **changes: object) -> None:
    entry = config(path)
    spelling = entry["spelling"]
    assert isinstance(spelling, dict)
    (path / "config.json").write_text(json.dumps(entry | {"spelling": spelling | changes}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: (path / SPELLING).unlink(), r"spelling\.safetensors: .*No such file"),
    "half a file": (lambda path: (path / SPELLING).write_bytes(b"\0" * 100), r"spelling\.safetensors: "),
    "another's": (lambda path: SECOND.save(path), r"spelling\.safetensors: (missing|unknown) tensor"),
    "another order": (lambda path: edit(path, order=5), r"unknown tensor"),
    "another constant": (lambda path: edit(path, log_share=0.1), r"config\.json: spelling\.log_share: "),
    "no constant": (lambda path: edit(path, log_share=None), r"config\.json: spelling\.log_share: "),
    "another digest": (lambda path: edit(path, digest="0" * 64), r"made for another vocabulary"),
    "no digest": (lambda path: edit(path, digest="abc"), r"config\.json: spelling\.digest: "),
    "another kind": (lambda path: edit(path, kind="lstm"), r"config\.json: spelling\.kind: "),
    "version 1": (
        lambda path: (path / "config.json").write_text(json.dumps(config(path) | {"format_version": 1})),
        r"spelling is a part of format_version 2",
    ),
}


@each(BROKEN)
def test_a_broken_part_is_refused_in_one_line(spelled: Path, break_it: Break, message: str) -> None:
    break_it(spelled)
    assert_refused(spelled, message)


def test_too_large_a_file(spelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling_model, "MOST_BYTES", 100)
    with pytest.raises(BundleError, match="larger than a spelling model may be"):
        Bundle.load(spelled)
