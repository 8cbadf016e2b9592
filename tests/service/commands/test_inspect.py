"""`headfirst inspect` in this process: every parameter and byte is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.bundle import Bundle
from models.config.bodies import (
    BodyConfig,
    ConvolutionLayer,
    GatedConvolutionConfig,
    LSTMConfig,
    TransformerConfig,
    TransformerXLConfig,
)
from models.config.model import Band, ModelConfig
from models.config.tokenization import Whitespace
from models.language_model import LanguageModel
from models.text.tokenizer import SpecialWords
from models.text.vocabulary import Vocabulary
from service.commands.shared.tables import layers
from tests.support.commands import refusal, run
from tests.support.tiny import tiny_config, tiny_words


def save(directory: Path, config: ModelConfig, dtype: torch.dtype = torch.float16) -> Path:
    words = Vocabulary.from_words(tiny_words(config.vocabulary_size), SpecialWords.of(config))
    Bundle.save(directory / "model", LanguageModel(config), words, dtype=dtype)
    return directory / "model"


def facts(path: Path) -> dict[str, Any]:
    result = run("inspect", path, "--json")
    assert result.exit_code == 0, result.stderr
    loaded = json.loads(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


BIASED = ModelConfig(
    vocabulary_size=100,
    hidden_size=16,
    cutoffs=(10, 50, 100),
    bands=(Band(clusters=2, width=4),),
    head_bias=True,
    tail_bias=True,
    tied=False,
    body=LSTMConfig(layers=1, units=8),
)
PLAIN = ModelConfig(
    vocabulary_size=50, hidden_size=16, cutoffs=(50,), bands=(), body=LSTMConfig(layers=1, units=16)
)


@pytest.mark.parametrize("config", [tiny_config(), tiny_config(tied=False), BIASED, PLAIN])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_parts_add_up(tmp_path: Path, config: ModelConfig, dtype: torch.dtype) -> None:
    path = save(tmp_path, config, dtype)
    stored = load_file(path / "model.safetensors")
    found = facts(path)
    parameters = sum(weight.numel() for weight in stored.values())
    assert found["parameters"] == parameters == sum(part["parameters"] for part in found["parts"])
    assert found["disk_bytes"] == parameters * dtype.itemsize == sum(p["disk_bytes"] for p in found["parts"])
    assert found["memory_bytes"] == parameters * 4 == sum(p["memory_bytes"] for p in found["parts"])
    assert found["dtype"] == str(dtype).removeprefix("torch.")
    assert found["files"]["model.safetensors"] == (path / "model.safetensors").stat().st_size
    by_part = {part["part"]: part["parameters"] for part in found["parts"]}
    body = sum(weight.numel() for name, weight in stored.items() if name.startswith("body."))
    assert by_part["body"] == body
    embedding = sum(weight.numel() for name, weight in stored.items() if name.startswith("embedding."))
    assert by_part.get("embedding", 0) == embedding


def test_parts_of_a_model_with_biases(tmp_path: Path) -> None:
    by_part = {part["part"]: part["parameters"] for part in facts(save(tmp_path, BIASED))["parts"]}
    embedding = 10 * 16 + 90 * 4 + 16 * 4
    assert by_part == {
        "head": 12 * 17,
        "tail projections": 4 * 16,
        "tail of band 0": 90 * 5,
        "embedding": embedding,
        "body": 4 * 8 * (16 + 8 + 2) + 8 * 16,
    }


def test_layout(bundle_path: Path) -> None:
    found = facts(bundle_path)
    assert found["name"] == "tiny"
    assert found["architecture"] == "lstm"
    assert found["body"].items() >= {"layers": 2, "units": 48, "projection": 32, "residual": True}.items()
    assert (found["window"], found["factor"], found["cluster_order"]) == (None, None, "natural")
    assert found["special_words"] == {
        "unknown": "<unk>",
        "end": "</s>",
        "start": "</s>",
        "never_predicted": ["<unk>"],
    }
    assert (found["tied"], found["embedding_scale"], found["device"]) == (True, 1.0, "cpu")
    assert (found["vocabulary_size"], found["shortlist"], found["clusters"]) == (280, 40, 6)
    assert found["cutoffs"] == [40, 60, 90, 120, 160, 210, 280]
    assert found["bands"] == [
        {
            "band": 0,
            "first_cluster": 0,
            "clusters": 3,
            "first_id": 40,
            "words": 80,
            "smallest_cluster": 20,
            "largest_cluster": 30,
            "width": 16,
        },
        {
            "band": 1,
            "first_cluster": 3,
            "clusters": 3,
            "first_id": 120,
            "words": 160,
            "smallest_cluster": 40,
            "largest_cluster": 70,
            "width": 8,
        },
    ]


def test_tables(bundle_path: Path) -> None:
    result = run("inspect", bundle_path)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.split("\n")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    found = facts(bundle_path)
    assert ["vocabulary", "280 words, tokenization ours"] in rows
    assert ["weights", "float32 on disk, float32 on cpu"] in rows
    assert ["head", "", "40", "0-39", "", "32"] in rows
    assert ["band 0", "3 (0-2)", "80", "40-119", "20 to 30", "16"] in rows
    assert ["band 1", "3 (3-5)", "160", "120-279", "40 to 70", "8"] in rows
    assert ["total", f"{found['parameters']:,}", "100.0%", "0.14 MB", "0.14 MB"] in rows


BODIES: dict[str, tuple[BodyConfig, str]] = {
    "lstm": (
        LSTMConfig(layers=3, units=20, layer_units=(20, 20, 16)),
        "lstm: 3 layers, units 20, layer units 20/20/16",
    ),
    "transformer": (
        TransformerConfig(layers=2, units=16, heads=4, inner=24, window=8),
        "transformer: 2 layers, units 16, heads 4, inner 24, activation relu, pre norm, positions sinusoidal,"
        " window 8",
    ),
    "transformer_xl": (
        TransformerXLConfig(
            layers=2, heads=2, head_size=4, inner=9, memory=5, segment=3, initial_memory="zeros"
        ),
        "transformer_xl: 2 layers, heads 2, head size 4, inner 9, memory 5, segment 3, initial memory zeros,"
        " norm epsilon 1e-05",
    ),
    "gated_convolution": (
        GatedConvolutionConfig(
            layers=(*[ConvolutionLayer(channels=16, kernel=3)] * 2, ConvolutionLayer(channels=8, kernel=2))
        ),
        "gated_convolution: 3 layers, 2 of channels 16 kernel 3 residual 1,"
        " 1 of channels 8 kernel 2 residual 1",
    ),
}


@pytest.mark.parametrize(("body", "text"), BODIES.values(), ids=BODIES.keys())
def test_bodies_of_every_kind(tmp_path: Path, body: BodyConfig, text: str) -> None:
    path = save(tmp_path, BIASED.model_copy(update={"body": body}))
    found = facts(path)
    assert found["architecture"] == body.type
    assert f"{body.type}: {layers(found['body'])}" == text
    shown = run("inspect", path).stdout
    assert body.type in shown
    assert sum(part["parameters"] for part in found["parts"]) == found["parameters"]


def test_the_layout_of_a_published_model(tmp_path: Path) -> None:
    """As Transformer-XL's: its head projected, its projections shared, its words split elsewhere."""
    changes = {
        "head_projection": 16,
        "tied": True,
        "tied_projections": True,
        "input_head_projection": True,
        "factor": 4.0,
        "head_bias": True,
        "tail_bias": True,
        "special_words": ("the",),
        "start_word": "of",
        "tokenization": Whitespace(),
    }
    path = save(tmp_path, ModelConfig(**tiny_config().model_dump() | {"hidden_size": 32} | changes))
    found = facts(path)
    assert found["special_words"]["never_predicted"] == ["<unk>", "the", "of"]
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip()
        for line in run("inspect", path).stdout.split("\n")
        if "│" in line
    }
    # Long values go on in the next line.
    assert rows["embeddings"] == "tied, projections too, size 32, 3 tables,"
    assert rows["softmax"].startswith("6 clusters in natural order, factor 4,")
    assert rows["vocabulary"] == "280 words, tokenization whitespace"
    by_part = {part["part"]: part["parameters"] for part in found["parts"]}
    assert by_part["head"] == 40 * 16 + 16 * 32 + 6 * 32 + 46
    assert by_part["embedding"] == 32 * 16


def test_a_plain_softmax_has_no_bands(tmp_path: Path) -> None:
    path = save(tmp_path, PLAIN)
    assert facts(path)["bands"] == []
    assert "head" in run("inspect", path).stdout


def test_a_broken_model_is_one_line(bundle_path: Path, tmp_path: Path) -> None:
    assert refusal(run("inspect", tmp_path / "missing")) == (
        f"headfirst inspect: {tmp_path / 'missing'}: no such directory"
    )
    path = save(tmp_path, PLAIN)
    (path / "model.safetensors").write_bytes(b"\x00" * 100)
    assert refusal(run("inspect", path)).startswith(f"headfirst inspect: {path / 'model.safetensors'}: ")
