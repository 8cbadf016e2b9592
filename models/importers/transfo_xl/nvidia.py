"""NVIDIA's Transformer-XL (DeepLearningExamples): one file with `model_config`, `model_state` and `vocab`.

Cluster columns in reversed order, no memory before a text. With `same_length` a position attends itself and
`mem_len` others, one more than in the original. The lengths are those of training; evaluation may set others
in the bundle's ``config.json`` (`TransformerXLConfig`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from models.importers.base import CheckpointError, Converted, Weights
from models.importers.pickles.checkpoint import attributes, load
from models.importers.transfo_xl.architecture import (
    Architecture,
    checked,
    configuration,
    cutoffs,
    refuse_unknown,
    vocabulary,
)
from models.importers.transfo_xl.weights import convert_weights, drop_copies


def convert(source: Path) -> Converted:
    """The model in the file `source`, or in the only ``.pt`` file of a directory. Raises CheckpointError."""
    file = _file(source)
    checkpoint = attributes(load(file))
    for name in ("model_config", "model_state", "vocab"):
        if name not in checkpoint:
            raise CheckpointError(f"{file}: has no {name}")
    architecture = _architecture(file, attributes(checkpoint["model_config"]))
    found = attributes(checkpoint["vocab"])
    if "idx2sym" not in found:
        raise CheckpointError(f"{file}: the vocabulary is not one of words")
    words, named = vocabulary(file, found["idx2sym"], architecture.cutoffs[-1], bool(found.get("lower_case")))
    config = configuration(file, architecture, named)
    tensors = _tensors(file, attributes(checkpoint["model_state"]))
    drop_copies(tensors, architecture, file)
    weights = convert_weights(Weights(tensors, file), architecture)
    return Converted(
        config=config,
        weights=weights,
        vocabulary=words,
        files=(file,),
        column_order=architecture.column_order,
        notes=(architecture.lengths_note,),
    )


def _file(source: Path) -> Path:
    if not source.is_dir():
        return source
    files = sorted(source.glob("*.pt"))
    best = [file for file in files if file.name == "checkpoint_best.pt"]
    if len(best or files) != 1:
        raise CheckpointError(f"{source}: holds {len(files)} .pt files; give the one to import")
    return (best or files)[0]


def _architecture(file: Path, settings: dict[str, Any]) -> Architecture:
    needed = (
        "n_token", "n_layer", "n_head", "d_model", "d_head", "d_inner", "d_embed", "div_val", "cutoffs",
        "tie_weight", "tie_projs", "pre_lnorm", "tgt_len", "mem_len", "same_length", "clamp_len", "attn_type",
    )  # fmt: skip
    for name in needed:
        if name not in settings:
            raise CheckpointError(f"{file}: model_config has no {name}")
    refuse_unknown(file, settings["attn_type"], settings.get("sample_softmax", -1), settings.get("ext_len"))
    edges = cutoffs(file, settings["cutoffs"], settings["n_token"])
    # With one table as wide as the hidden row there is nothing to tie.
    embedding = settings["d_model"] if settings["d_embed"] is None else settings["d_embed"]
    memory = settings["mem_len"]
    return checked(
        file,
        lambda: Architecture(
            hidden=settings["d_model"],
            embedding=embedding,
            cutoffs=edges,  # type: ignore[arg-type]  # pydantic checks them
            factor=settings["div_val"],
            tied=settings["tie_weight"],
            tied_projections=settings["tie_projs"],
            layers=settings["n_layer"],
            heads=settings["n_head"],
            head_size=settings["d_head"],
            inner=settings["d_inner"],
            pre_norm=settings["pre_lnorm"],
            shared_biases=True,
            memory=memory,
            segment=settings["tgt_len"],
            attended=memory + 1 if settings["same_length"] else None,
            initial_memory="empty",
            clamp=settings["clamp_len"],
            column_order="reversed",
        ),
    )


def _tensors(file: Path, state: dict[str, Any]) -> dict[str, object]:
    """The weights by the names of the original."""
    tensors: dict[str, object] = {}
    for name, tensor in state.items():
        renamed = re.sub(r"^crit\.out_layers_weights\.(\d+)$", r"crit.out_layers.\1.weight", name)
        renamed = re.sub(r"^crit\.out_layers_biases\.(\d+)$", r"crit.out_layers.\1.bias", renamed)
        tensors[renamed] = tensor
    for name in [name for name in tensors if name.startswith("crit.shared_out_projs.")]:
        # The embedding's projections under a second name; some or all of them are tied.
        one = tensors.pop(name)
        other = tensors.get(f"word_emb.emb_projs.{name.rsplit('.', 1)[1]}")
        if not (isinstance(one, Tensor) and isinstance(other, Tensor) and one.equal(other)):
            raise CheckpointError(f"{file}: {name} differs from the embedding's projection")
    return tensors
