"""Every broken bundle is refused in one line that names the fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.bundle import Bundle, BundleError
from models.text.vocabulary import Vocabulary
from tests.support.broken_bundles import Break, assert_refused, each
from tests.support.tiny import tiny_words


def change_config(path: Path, **changes: object) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors")


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def add_word(path: Path) -> None:
    Vocabulary.from_words([*tiny_words(), "another"]).save(path / "tokenizer.json")


def gap(path: Path) -> None:
    file = path / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab[next(reversed(vocab))] += 1
    file.write_text(json.dumps(tokenizer))


def fill(name: str, value: float) -> Callable[[dict[str, Tensor]], object]:
    def change(weights: dict[str, Tensor]) -> None:
        weights[name].view(-1)[3] = value

    return change


def retype(name: str, dtype: torch.dtype) -> Callable[[dict[str, Tensor]], object]:
    return lambda weights: weights.update({name: weights[name].to(dtype)})


def grow(weights: dict[str, Tensor]) -> None:
    weights["softmax.head"] = torch.zeros(46, 33)


def too_large(weights: dict[str, Tensor]) -> None:
    weights["softmax.head"] = weights["softmax.head"].double()
    weights["softmax.head"][0, 0] = 1e300


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda path: (path / "config.json").unlink(), r"tiny: config\.json is missing"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), r"model\.safetensors is missing"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "empty config": (lambda path: cut(path / "config.json", 0), r"config\.json: Invalid JSON"),
    "half a config": (lambda path: cut(path / "config.json", 50), r"config\.json: Invalid JSON"),
    "config of bytes": (
        lambda path: (path / "config.json").write_bytes(b"\xff\xfe"),
        r"config\.json: Invalid JSON",
    ),
    "config of another kind": (
        lambda path: (path / "config.json").write_text("[]"),
        r"config\.json: Input should be",
    ),
    "wrong type": (
        lambda path: change_config(path, hidden_size="32"),
        r"config\.json: hidden_size: Input should be a valid integer",
    ),
    "unknown key": (
        lambda path: change_config(path, **{"odd\nkey": 1}),
        r"config\.json: odd key: Extra inputs are not permitted",
    ),
    "impossible sizes": (lambda path: change_config(path, hidden_size=10**18), r"config\.json: .*overflow"),
    "impossible body": (
        lambda path: change_config(path, body={"type": "lstm", "layers": 1, "units": 8, "projection": 9}),
        r"config\.json: body\.lstm: .*projection \(9\) must be less than units \(8\)",
    ),
    "other vocabulary size": (
        lambda path: change_config(path, vocabulary_size=281),
        r"the last cutoff \(280\) must be vocabulary_size",
    ),
    "a word too many": (add_word, r"tokenizer\.json: holds 281 words, config\.json says vocabulary_size 280"),
    "gap in the ids": (gap, r"tokenizer\.json: vocabulary ids must be 0, 1, 2, \.\.\. without a gap"),
    "empty tokenizer": (lambda path: cut(path / "tokenizer.json", 0), r"tokenizer\.json: "),
    "half a tokenizer": (lambda path: cut(path / "tokenizer.json", 400), r"tokenizer\.json: "),
    "no such unknown word": (
        lambda path: change_config(path, unknown_word="<oov>"),
        r"tokenizer\.json: vocabulary has no '<oov>'",
    ),
    "no such end word": (
        lambda path: change_config(path, end_word="<eos>"),
        r"tokenizer\.json: vocabulary has no '<eos>'",
    ),
    "empty weights": (lambda path: cut(path / "model.safetensors", 0), r"model\.safetensors: "),
    "half a header": (lambda path: cut(path / "model.safetensors", 100), r"model\.safetensors: "),
    "truncated weights": (lambda path: cut(path / "model.safetensors", 9000), r"model\.safetensors: "),
    "a byte short": (
        lambda path: cut(path / "model.safetensors", (path / "model.safetensors").stat().st_size - 1),
        r"model\.safetensors: ",
    ),
    "a pickle": (
        lambda path: torch.save({"a": torch.ones(2)}, path / "model.safetensors"),
        r"model\.safetensors: ",
    ),
    "wrong shape": (
        lambda path: change_weights(path, grow),
        r"softmax\.head has shape \[46, 33\], config\.json asks for \[46, 32\]",
    ),
    "shape of another config": (
        lambda path: change_config(
            path, body={"type": "lstm", "layers": 2, "units": 40, "projection": 32, "residual": True}
        ),
        r"has shape .*, config\.json asks for ",
    ),
    "NaN": (
        lambda path: change_weights(path, fill("softmax.tails.0", torch.nan)),
        r"softmax\.tails\.0 holds values that are not finite",
    ),
    "infinity": (
        lambda path: change_weights(path, fill("softmax.head", -torch.inf)),
        r"softmax\.head holds values that are not finite",
    ),
    "beyond float32": (
        lambda path: change_weights(path, too_large),
        r"softmax\.head holds values that are not finite",
    ),
    "integer weights": (
        lambda path: change_weights(path, retype("softmax.head", torch.int32)),
        r"softmax\.head has type I32, not a floating-point one",
    ),
    "one weight missing": (
        lambda path: change_weights(path, lambda weights: weights.pop("softmax.head")),
        r"missing weight softmax\.head$",
    ),
    "weights missing": (
        lambda path: change_config(path, body={"type": "lstm", "layers": 3, "units": 48, "projection": 32}),
        r"missing weight body\.layers\.2\.bias_hh_l0 and 4 others$",
    ),
    "unknown weight": (
        lambda path: change_weights(path, lambda weights: weights.update({"odd\none": torch.ones(2)})),
        r"unknown weight odd one$",
    ),
    "untied config": (
        lambda path: change_config(path, tied=False),
        r"missing weight embedding\.head and 2 others$",
    ),
}


@each(BROKEN)
def test_a_broken_bundle_is_refused_in_one_line(path: Path, break_it: Break, message: str) -> None:
    break_it(path)
    assert_refused(path, message)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: no such directory$"):
        Bundle.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"file: no such directory$"):
        Bundle.load(tmp_path / "file")


def test_a_config_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BundleError, match=r"Permission denied: '.*config\.json'$"):
        Bundle.load(path)
