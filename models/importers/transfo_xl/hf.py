"""Hugging Face's ``transfo-xl``: a directory with ``config.json``, the weights and the vocabulary.

The weights came from TensorFlow: cluster columns in natural order, memory filled with zeros before a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from models.importers.base import CheckpointError, Converted, Weights
from models.importers.pickles.checkpoint import attributes, load, load_safetensors
from models.importers.transfo_xl.architecture import (
    Architecture,
    attended_positions,
    checked,
    configuration,
    cutoffs,
    refuse_unknown,
    vocabulary,
)
from models.importers.transfo_xl.weights import convert_weights, drop_copies

SEGMENT: Final = 1024
"""The library has no segments: one call is one. Only without `same_length` does it matter where they end."""

_VOCABULARIES: Final = ("vocab.pkl", "vocab.bin", "vocab.json")


def convert(source: Path) -> Converted:
    """The model in the directory `source`. Raises CheckpointError."""
    if not source.is_dir():
        raise CheckpointError(f"{source}: is not a directory with config.json, weights and vocabulary")
    config_file = source / "config.json"
    settings = _read_json(config_file)
    if settings.get("model_type", "transfo-xl") != "transfo-xl":
        raise CheckpointError(f"{config_file}: model_type is {settings['model_type']!r}, not 'transfo-xl'")
    architecture = _architecture(config_file, settings)
    vocabulary_file = _first(source, _VOCABULARIES)
    found = _vocabulary(vocabulary_file)
    words, named = vocabulary(
        vocabulary_file, _listed(found), architecture.cutoffs[-1], bool(found.get("lower_case"))
    )
    config = configuration(config_file, architecture, named)
    weights_file = _first(source, ("model.safetensors", "pytorch_model.bin"))
    tensors = _tensors(weights_file)
    if architecture.shared_biases:
        _merge_biases(tensors, architecture.layers, weights_file)
    drop_copies(tensors, architecture, weights_file)
    weights = convert_weights(Weights(tensors, weights_file), architecture)
    notes = (
        "One call of the library is one segment here; texts beyond"
        f" {SEGMENT} words go on in the next, with memory.",
    )
    return Converted(
        config=config,
        weights=weights,
        vocabulary=words,
        files=(config_file, weights_file, vocabulary_file),
        column_order=architecture.column_order,
        notes=() if architecture.attended else notes,
    )


def _architecture(file: Path, settings: dict[str, Any]) -> Architecture:
    for name in (
        "d_model",
        "d_embed",
        "cutoffs",
        "div_val",
        "n_layer",
        "n_head",
        "d_head",
        "d_inner",
        "mem_len",
    ):
        if name not in settings:
            raise CheckpointError(f"{file}: {name} is missing")
    refuse_unknown(file, settings.get("attn_type", 0), settings.get("sample_softmax", -1))
    words = settings.get("vocab_size", settings.get("n_token"))
    edges = cutoffs(file, settings["cutoffs"], words)
    share = settings.get("proj_share_all_but_first", True)
    memory = settings["mem_len"]
    attended = attended_positions(file, memory, settings.get("same_length", True))
    return checked(
        file,
        lambda: Architecture(
            hidden=settings["d_model"],
            embedding=settings["d_embed"],
            cutoffs=edges,  # type: ignore[arg-type]  # pydantic checks them
            factor=settings["div_val"],
            tied=settings.get("tie_word_embeddings", settings.get("tie_weight", True)),
            tied_projections=settings.get("tie_projs", [False] + [share] * (len(edges) - 1)),
            layers=settings["n_layer"],
            heads=settings["n_head"],
            head_size=settings["d_head"],
            inner=settings["d_inner"],
            pre_norm=settings.get("pre_lnorm", False),
            shared_biases=not settings.get("untie_r", True),
            norm_epsilon=settings.get("layer_norm_epsilon", 1e-5),
            memory=memory,
            segment=SEGMENT,
            attended=attended,  # type: ignore[arg-type]  # pydantic checks it
            initial_memory="zeros",
            clamp=settings.get("clamp_len", -1),
            column_order="natural",
        ),
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{file}: is not a JSON object")
    return found


def _first(source: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (source / name).is_file():
            return source / name
    raise CheckpointError(f"{source}: has none of {', '.join(names)}")


def _vocabulary(file: Path) -> dict[str, Any]:
    """`idx2sym` or `sym2idx` and what stands beside them; JSON may be the words with their ids alone."""
    if file.suffix != ".json":
        return attributes(load(file))
    found = _read_json(file)
    return found if "idx2sym" in found or "sym2idx" in found else {"sym2idx": found}


def _listed(found: dict[str, Any]) -> object:
    if "idx2sym" in found:
        return found["idx2sym"]
    ids = attributes(found.get("sym2idx", {}))
    words = sorted(ids, key=lambda word: ids[word] if isinstance(ids[word], int) else -1)
    return words if [ids[word] for word in words] == list(range(len(words))) else None


def _tensors(file: Path) -> dict[str, object]:
    """The weights by the names of the original, to which the library adds a prefix."""
    loaded = load_safetensors(file) if file.suffix == ".safetensors" else load(file)
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise CheckpointError(f"{file}: is not a dictionary of weights")
    return {name.removeprefix("transformer."): tensor for name, tensor in loaded.items()}


def _merge_biases(tensors: dict[str, object], layers: int, file: Path) -> None:
    """Shared biases stand under the name of each layer, too, or there only."""
    for bias in ("r_w_bias", "r_r_bias"):
        for i in range(layers):
            copy = tensors.pop(f"layers.{i}.dec_attn.{bias}", None)
            if copy is None:
                continue
            first = tensors.setdefault(bias, copy)
            if not (isinstance(first, Tensor) and isinstance(copy, Tensor) and first.equal(copy)):
                raise CheckpointError(
                    f"{file}: layers.{i}.dec_attn.{bias} differs from {bias}, which untie_r shares"
                )
