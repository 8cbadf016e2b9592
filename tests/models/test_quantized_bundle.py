"""Bundles with weights of 8 bits: saved, loaded, refused, and run without the C++ extension."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.bundle import Bundle, BundleError
from models.config.bodies import GatedConvolutionConfig, LSTMConfig
from models.config.model import ModelConfig
from models.config.quantization import QuantizationConfig
from models.kernels.cpu.library import KernelError
from models.language_model import LanguageModel
from models.text.vocabulary import Vocabulary
from models.training.quantization import quantize
from tests.support.broken_bundles import Break, assert_refused, each
from tests.support.tiny import tiny_config, tiny_model, tiny_words

VOCABULARY = Vocabulary.from_words(tiny_words())


def save(
    path: Path, tables: Literal["float", "int8"] = "float", model: LanguageModel | None = None
) -> LanguageModel:
    made = quantize(model or tiny_model(), tables)
    Bundle.save(path, made, VOCABULARY, "# tiny\n", torch.float32)
    return made


def read(model: LanguageModel) -> Tensor:
    ids, lengths = torch.arange(60).reshape(4, 15) * 4 % 280, torch.tensor([15, 3, 9, 14])
    with torch.inference_mode():
        return model.encode(ids, lengths, model.initial_state(4))[0]


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    edit(weights)
    save_file(weights, path / "model.safetensors")


def change_config(path: Path, **changes: object) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("tied", [True, False])
def test_what_was_saved_is_loaded(tmp_path: Path, tied: bool) -> None:
    made = save(tmp_path, model=tiny_model(tiny_config(tied=tied)))
    bundle = Bundle.load(tmp_path, "cpu")
    assert bundle.config == made.config
    assert bundle.config.format_version == 2
    assert bundle.dtype == "float32/int8"
    wanted, found = made.state_dict(), bundle.model.state_dict()
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert torch.equal(read(bundle.model), read(made))


def test_tables_of_8_bits_are_near_and_float16_numbers(tmp_path: Path) -> None:
    model = tiny_model(tiny_config(tied=False))
    save(tmp_path / "float", model=model)
    save(tmp_path / "int8", "int8", model)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("float", "int8")]
    assert sizes[1] < 0.75 * sizes[0]
    found = Bundle.load(tmp_path / "int8", "cpu").model
    for name in ("softmax.head", "softmax.tails.0", "embedding.head", "embedding.tails.1"):
        old, new = model.state_dict()[name], found.state_dict()[name]
        error = (old - new).abs()
        # Half a step of 127, whose size is rounded up by an eighth at most.
        assert bool((error <= old.abs().amax(1, keepdim=True) / 127 * 1.125 * 0.5001).all())
        assert bool((error > 0).any())
        assert torch.equal(new.half().float(), new)
    assert torch.equal(found.state_dict()["softmax.projections.0"], model.softmax.projections[0])


def test_the_same_bits_without_the_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    here = read(Bundle.load(tmp_path, "cpu").model)

    def missing(*_: object, **__: object) -> None:
        raise KernelError("the C++ extension was not built")

    monkeypatch.setattr("models.language_model.CpuLSTM", missing)
    elsewhere = Bundle.load(tmp_path, "cpu").model
    assert elsewhere.kernels["body"] == "torch operators, 8 bits"
    assert torch.equal(read(elsewhere), here)


@pytest.mark.parametrize(
    "body",
    [
        LSTMConfig(layers=1, units=32),
        LSTMConfig(layers=3, units=40, layer_units=(40, 36, 33), projection=20),
        LSTMConfig(layers=2, units=40, output_bias=True),
    ],
    ids=["no projection", "units of each layer, and a map to the hidden size", "a biased map"],
)
def test_any_lstm(tmp_path: Path, body: LSTMConfig) -> None:
    model = tiny_model(tiny_config().model_copy(update={"body": body}))
    made = save(tmp_path, model=model)
    found, want = read(Bundle.load(tmp_path, "cpu").model), read(model)
    assert torch.equal(found, read(made))
    assert (found - want).norm() / want.norm() < 0.05


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a float matrix": (
        lambda path: change(
            path, lambda w: w.update({"body.layers.0.hidden.weight": w["body.layers.0.hidden.weight"].half()})
        ),
        r"body\.layers\.0\.hidden\.weight has type F16, config\.json asks for I8",
    ),
    "a wide integer": (
        lambda path: change(
            path, lambda w: w.update({"body.layers.0.hidden.weight": w["body.layers.0.hidden.weight"].int()})
        ),
        r"has type I32, config\.json asks for I8",
    ),
    "integer scales": (
        lambda path: change(
            path, lambda w: w.update({"body.layers.0.hidden.scale": w["body.layers.0.hidden.scale"].int()})
        ),
        r"body\.layers\.0\.hidden\.scale has type I32, not a floating-point one",
    ),
    "a scale that is NaN": (
        lambda path: change(path, lambda w: w["body.layers.1.input.scale"].fill_(torch.nan)),
        r"body\.layers\.1\.input\.scale holds values that are not finite",
    ),
    "no scales": (
        lambda path: change(path, lambda w: w.pop("body.layers.1.projection.scale")),
        r"missing weight body\.layers\.1\.projection\.scale$",
    ),
    "neighbors too large": (
        lambda path: change(path, lambda w: w["body.layers.1.input.weight"].fill_(65)),
        r"body\.layers\.1\.input\.weight has neighboring weights that add up to more than 128",
    ),
    "weights of a float body": (
        lambda path: (
            Bundle.save(path / "float", tiny_model(), VOCABULARY, dtype=torch.float32)
            or (path / "float" / "model.safetensors").replace(path / "model.safetensors")
        ),
        r"missing weight body\.layers\.0\.bias and 13 others$",
    ),
    "no quantization": (
        lambda path: change_config(path, quantization=None),
        r"missing weight body\.layers\.0\.bias_hh_l0 and 9 others$",
    ),
    "version 1": (
        lambda path: change_config(path, format_version=1),
        r"config\.json: Value error, quantization is a part of format_version 2",
    ),
    "another number of bits": (
        lambda path: change_config(path, quantization={"body": "int4"}),
        r"config\.json: quantization\.body: Input should be 'int8'",
    ),
    "a cost that is none": (
        lambda path: change_config(
            path,
            quantization={"cost": {"words": 0, "perplexity_before": 1, "perplexity": 1, "same_first": 1}},
        ),
        r"config\.json: quantization\.cost\.words: Input should be greater than or equal to 1",
    ),
    "tables in floats": (
        lambda path: change_config(path, quantization={"tables": "int8"}),
        r"missing weight softmax\.head\.scale and 2 others$",
    ),
}


@each(BROKEN)
def test_a_broken_one_is_refused_in_one_line(tmp_path: Path, break_it: Break, message: str) -> None:
    save(tmp_path)
    break_it(tmp_path)
    assert_refused(tmp_path, message)


def test_a_table_s_scales_that_overflow(tmp_path: Path) -> None:
    save(tmp_path, "int8")
    change(tmp_path, lambda w: w["softmax.head.scale"].fill_(3e38))
    with pytest.raises(BundleError, match=r"softmax\.head times its scales is not finite$"):
        Bundle.load(tmp_path)


def test_only_lstms_and_only_once() -> None:
    made = quantize(tiny_model())
    with pytest.raises(ValueError, match="the model is quantized already"):
        quantize(made)
    convolution = tiny_config().model_copy(
        update={"body": GatedConvolutionConfig.model_validate({"layers": [{"channels": 32, "kernel": 2}]})}
    )
    with pytest.raises(ValueError, match=r"only the LSTM has a form of 8 bits.*gated_convolution"):
        quantize(LanguageModel(convolution))
    with pytest.raises(ValueError, match="quantization is for bodies of type lstm"):
        convolution.with_quantization(QuantizationConfig())


def test_a_float_bundle_says_nothing_of_it(tmp_path: Path) -> None:
    """So that earlier versions of the software read it."""
    Bundle.save(tmp_path, tiny_model(), VOCABULARY)
    said = json.loads((tmp_path / "config.json").read_text())
    assert said["format_version"] == 1
    assert "quantization" not in said
    assert ModelConfig.model_validate(said | {"format_version": 2}).quantization is None
