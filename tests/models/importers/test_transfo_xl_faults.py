"""What is wrong with a Transformer-XL checkpoint is told in one line; nothing wrong is served."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.importers import convert
from models.importers.base import CheckpointError
from tests.support.transfo_xl_models import DATA, form

Change = Callable[[dict[str, Any]], object]


def copied(case: str, folder: Path) -> Path:
    shutil.copytree(DATA / case, folder / case)
    return folder / case


def fault(case: str, source: Path) -> str:
    """The one line that converting `source` ends with."""
    with pytest.raises(CheckpointError) as caught:
        convert(form(case), source).model()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def in_config(source: Path, change: Change) -> None:
    settings = json.loads((source / "config.json").read_text())
    change(settings)
    (source / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(attn_type=2), "attn_type 2 (absolute positions) is not supported"),
        (lambda c: c.update(sample_softmax=8), "sampled softmax"),
        (lambda c: c.update(model_type="gpt2"), "model_type is 'gpt2'"),
        (lambda c: c.pop("d_inner"), "d_inner is missing"),
        (lambda c: c.update(mem_len=0), "no position attends any"),
        (lambda c: c.update(mem_len=-1), "memory: Input should be greater"),
        (lambda c: c.update(div_val=8), "too small for div_val 8"),
        (lambda c: c.update(n_layer=3), "weight layers.2.dec_attn.qkv_net.weight is missing"),
        (lambda c: c.update(n_layer=10**12), "layers: Input should be less than or equal to 1000"),
        (lambda c: c.update(n_layer=1), "unknown weight layers.1."),
        (lambda c: c.update(d_inner=13), "pos_ff.CoreNet.0.weight has shape [12, 16], expected [13, 16]"),
        (lambda c: c.update(vocab_size=61), "holds 60 words, the model has 61"),
        (lambda c: c.update(vocab_size=None), "cutoffs"),
        (lambda c: c.update(cutoffs=[27, 14, 45]), "cutoffs must ascend"),
        (lambda c: c.update(cutoffs=[14, 27, 46]), "word_emb.emb_layers.2.weight has shape [18, 4]"),
        (lambda c: c.update(cutoffs=7), "cutoffs 7 are not a list"),
        (lambda c: c.update(tie_projs=[False]), "tie_projs has 1 entries"),
        (lambda c: c.update(tie_projs=[True] * 4), "differ, which the configuration ties"),
        (lambda c: c.update(d_head="5"), "head_size: Input should be a valid integer"),
        (lambda c: c.update(untie_r=False), "differs from r_w_bias, which untie_r shares"),
    ],
)
def test_configurations_of_hugging_face(change: Change, message: str, tmp_path: Path) -> None:
    source = copied("hf-published", tmp_path)
    in_config(source, change)
    assert message in fault("hf-published", source)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"d_model": 16}'])
def test_config_json_that_is_none(content: str, tmp_path: Path) -> None:
    source = copied("hf-published", tmp_path)
    (source / "config.json").write_text(content)
    assert "config.json" in fault("hf-published", source)


@pytest.mark.parametrize("file", ["config.json", "pytorch_model.bin", "vocab.pkl"])
def test_files_that_are_missing_or_cut(file: str, tmp_path: Path) -> None:
    source = copied("hf-published", tmp_path)
    whole = (source / file).read_bytes()
    (source / file).write_bytes(whole[: len(whole) // 2])
    assert file in fault("hf-published", source)
    (source / file).unlink()
    assert file in fault("hf-published", source)


@pytest.mark.parametrize("case", ["pytorch-wt103", "pytorch-wt103-base", "nvidia-large"])
def test_torch_files_that_are_cut_or_missing(case: str, tmp_path: Path) -> None:
    source = copied(case, tmp_path)
    file = next(path for path in source.iterdir() if path.name in ("model.pt", "checkpoint_best.pt"))
    whole = file.read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, 100, 0):
        file.write_bytes(whole[:kept])
        assert file.name in fault(case, source)
    file.unlink()
    assert ".pt" in fault(case, source)


def test_weights_that_were_renamed_or_are_not_finite(tmp_path: Path) -> None:
    source = copied("hf-published-safetensors", tmp_path)
    weights = load_file(source / "model.safetensors")
    name = "transformer.layers.0.dec_attn.o_net.weight"
    save_file({**weights, name: weights[name] * torch.nan}, source / "model.safetensors")
    assert "not finite" in fault("hf-published-safetensors", source)
    weights["transformer.layers.0.attn.o_net.weight"] = weights.pop(name)
    save_file(weights, source / "model.safetensors")
    assert "layers.0.dec_attn.o_net.weight is missing" in fault("hf-published-safetensors", source)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["<eos>", "<unk>", "a"], "holds 3 words, the model has 60"),
        ([f"w{i}" for i in range(60)], "has no <unk>"),
        (["<unk>", *(f"w{i}" for i in range(59))], "has no <eos>"),
        (["<unk>", "<eos>", *["w"] * 58], "distinct"),
        (["<unk>", "<eos>", *range(58)], "not a list of words"),
        ("a" * 60, "not a list of words"),
    ],
)
def test_wrong_dictionaries(words: object, message: str, tmp_path: Path) -> None:
    source = copied("hf-published", tmp_path)
    (source / "vocab.pkl").write_bytes(pickle.dumps({"idx2sym": words}))
    assert message in fault("hf-published", source)


def test_words_with_ids_that_leave_a_gap(tmp_path: Path) -> None:
    source = copied("hf-no-tails", tmp_path)
    ids = json.loads((source / "vocab.json").read_text())
    ids["of"] = 60
    (source / "vocab.json").write_text(json.dumps(ids))
    assert "not a list of words" in fault("hf-no-tails", source)


def test_the_dictionary_of_another_model(tmp_path: Path) -> None:
    """`cache.pt` is found by its name alone: its size must be the model's."""
    source = copied("pytorch-wt103", tmp_path)
    cache = {"vocab": {"idx2sym": ["<eos>", "<unk>", "the"], "lower_case": False}}
    torch.save(cache, source / "cache.pt")
    assert "cache.pt: holds 3 words, the model has 60" in fault("pytorch-wt103", source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model_config"].update(attn_type=1), "attn_type 1 (learned relative positions)"),
        (lambda c: c["model_config"].update(ext_len=3), "ext_len 3"),
        (lambda c: c["model_config"].pop("clamp_len"), "model_config has no clamp_len"),
        (lambda c: c.pop("model_state"), "has no model_state"),
        (lambda c: c.update(vocab={"tokenizer": None}), "not one of words"),
        (lambda c: c["model_state"].update(more=torch.zeros(2)), "unknown weight more"),
        (lambda c: c["model_state"].update({"word_emb.emb_projs.1": torch.zeros(16, 16)}), "differs from"),
        (lambda c: c["model_state"].update({"r_w_bias": [1.0]}), "r_w_bias is not a floating-point tensor"),
    ],
)
def test_checkpoints_of_nvidia(change: Change, message: str, tmp_path: Path) -> None:
    state = torch.load(DATA / "nvidia-large" / "checkpoint_best.pt", weights_only=False, pickle_module=_Plain)
    state["vocab"] = dict(state["vocab"].__dict__)
    change(state)
    torch.save(state, tmp_path / "checkpoint.pt")
    assert message in fault("nvidia-large", tmp_path / "checkpoint.pt")


def test_a_folder_of_several_checkpoints(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        shutil.copy(DATA / "nvidia-base" / "checkpoint_best.pt", tmp_path / name)
    assert "holds 2 .pt files" in fault("nvidia-base", tmp_path)
    assert convert("transfo-xl-nvidia", tmp_path / "a.pt").config.n_clusters == 3


def test_a_pickle_that_runs_something_is_inert(tmp_path: Path) -> None:
    """The vocabulary's pickle is where CVE-2023-6730 was."""
    source, witness = copied("hf-published", tmp_path), tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (witness,)

    content = {**pickle.loads(b"\x80\x04}."), "payload": Payload(), "idx2sym": ["<eos>"]}  # noqa: S301
    (source / "vocab.pkl").write_bytes(pickle.dumps(content))
    assert "holds 1 words" in fault("hf-published", source)
    assert not witness.exists()


class _Unpickler(pickle.Unpickler):
    """Our own test data, whose classes are not here."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("utils"):
            return type(name, (), {})
        return super().find_class(module, name)


class _Plain:
    """What torch calls a pickle module."""

    Unpickler = _Unpickler
    load = staticmethod(pickle.load)
