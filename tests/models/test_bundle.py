"""A model on disk: saved and loaded again, and every broken one refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.bundle import Bundle, BundleError, resolve_device
from models.config.bodies import LSTMConfig
from models.config.model import ModelConfig
from models.language_model import LanguageModel
from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from tests.support.tiny import tiny_config, tiny_model, tiny_words

VOCABULARY = Vocabulary.from_words(tiny_words())


def change_weights(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors")


# -- load and save -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_saved_is_loaded(tmp_path: Path, tied: bool, dtype: torch.dtype) -> None:
    model = tiny_model(tiny_config(tied=tied))
    Bundle.save(tmp_path / "b", model, VOCABULARY, "# A card\n", dtype)
    bundle = Bundle.load(tmp_path / "b")
    assert bundle.config == model.config
    assert bundle.dtype == str(dtype).removeprefix("torch.")
    assert (bundle.path / "README.md").read_text() == "# A card\n"
    wanted, found = model.state_dict(), bundle.model.state_dict()
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value.to(dtype).float())
    assert len(bundle.vocabulary) == 280
    assert bundle.vocabulary.word(5) == tiny_words()[5]


def test_a_loaded_model_answers_as_before(path: Path) -> None:
    model, bundle = tiny_model(), Bundle.load(path)
    ids, lengths = torch.tensor([[1, 5, 9, 70]]), torch.tensor([4])
    with torch.inference_mode():
        before, after = (
            one.body(one.embedding(ids), lengths, one.initial_state(1))[0][0] for one in (model, bundle.model)
        )
        assert torch.equal(before, after)
        wanted = model.softmax.topk(before, 280)
        for one, other in zip(wanted, bundle.model.softmax.topk(after, 280), strict=True):
            assert torch.equal(one, other)
        # The kernels chosen at load add up in another order.
        fast = bundle.model.encode(ids, lengths, bundle.model.initial_state(1))[0][0]
        torch.testing.assert_close(fast, before, atol=1e-5, rtol=0)
        found = bundle.model.topk(fast, 280)
        assert torch.equal(found.ids[:, :20], wanted.ids[:, :20])
        torch.testing.assert_close(found.logprobs, wanted.logprobs, atol=1e-4, rtol=0)


def test_a_loaded_model_is_ready_to_answer(path: Path) -> None:
    bundle = Bundle.load(path)
    assert not bundle.model.training
    assert not any(weight.requires_grad for weight in bundle.model.parameters())
    assert bundle.device == bundle.model.device == resolve_device("auto")
    # The unknown word is excluded: the buffer is not in the file.
    assert bundle.model.softmax.excluded.nonzero().tolist() == [[bundle.vocabulary.unknown_id]]


def test_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Bundle.load(path).name == "tiny"
    assert Bundle.load(path, name="mine").name == "mine"
    monkeypatch.chdir(path)
    assert Bundle.load(".").name == "tiny"


def test_the_files_of_a_bundle(path: Path) -> None:
    assert sorted(file.name for file in path.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_other_special_words(tmp_path: Path) -> None:
    """Their ids and names are the tokenizer's and the configuration's."""
    words = tiny_words()
    words[0], words[1] = END, UNKNOWN
    model = tiny_model()
    Bundle.save(tmp_path / "b", model, Vocabulary.from_words(words))
    bundle = Bundle.load(tmp_path / "b")
    assert (bundle.vocabulary.unknown_id, bundle.vocabulary.end_id) == (1, 0)
    assert bundle.model.softmax.excluded.nonzero().tolist() == [[1]]


@pytest.mark.parametrize(
    ("value", "dtype"), [(7e4, torch.float16), (-7e4, torch.float16), (torch.nan, torch.float32)]
)
def test_weights_that_the_type_cannot_hold_are_not_saved(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    model = tiny_model()
    model.softmax.projections[1][0, 0] = value
    with pytest.raises(BundleError, match=rf"^softmax\.projections\.1 is not finite as {dtype}$"):
        Bundle.save(tmp_path / "b", model, VOCABULARY, dtype=dtype)
    assert not (tmp_path / "b" / "model.safetensors").exists()


def test_weights_may_have_several_types(path: Path) -> None:
    change_weights(path, lambda weights: weights.update({"softmax.head": weights["softmax.head"].half()}))
    assert Bundle.load(path).dtype == "float16/float32"


def test_float64_weights_become_float32(path: Path) -> None:
    change_weights(path, lambda weights: weights.update({"softmax.head": weights["softmax.head"].double()}))
    bundle = Bundle.load(path)
    assert bundle.dtype == "float32/float64"
    assert bundle.model.softmax.head.dtype == torch.float32


# -- devices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["tpu", "gpu", "", "meta", "cuda:x", "cpu cuda"])
def test_a_device_that_is_none(device: str) -> None:
    with pytest.raises(BundleError, match=f"^device '{device}' is not one of auto, cpu, cuda, cuda:<i>$"):
        resolve_device(device)


def test_a_device_that_is_not_here(path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"^device 'cuda:99' is not there: this machine has \d+ CUDA devices$"
    ):
        Bundle.load(path, device="cuda:99")
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_plain_softmax_bundle(tmp_path: Path) -> None:
    config = ModelConfig(
        vocabulary_size=280, hidden_size=8, cutoffs=(280,), body=LSTMConfig(layers=1, units=8)
    )
    torch.manual_seed(0)
    Bundle.save(tmp_path / "b", LanguageModel(config), VOCABULARY)
    bundle = Bundle.load(tmp_path / "b")
    assert bundle.model.topk(torch.zeros(1, 8), 3).expanded.shape == (1, 0)
