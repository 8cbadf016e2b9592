"""The Transformer-XL authors' PyTorch code: ``model.pt``, a module pickled whole, ``cache.pt``, its corpus.

Cluster columns in reversed order, no memory before a text. The module holds the lengths that it was trained
with; its evaluation sets others, which may be done in the bundle's ``config.json`` (`TransformerXLConfig`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from models.importers.base import CheckpointError, Converted, Weights
from models.importers.pickles.checkpoint import attributes, load, module_state
from models.importers.transfo_xl.architecture import (
    Architecture,
    attended_positions,
    checked,
    configuration,
    refuse_unknown,
    vocabulary,
)
from models.importers.transfo_xl.weights import convert_weights, drop_copies


def convert(source: Path) -> Converted:
    """The model in the directory `source`. Raises CheckpointError."""
    if not source.is_dir():
        raise CheckpointError(f"{source}: is not a directory with model.pt and cache.pt")
    model_file, cache_file = source / "model.pt", source / "cache.pt"
    module = load(model_file)
    settings = attributes(module)
    tensors: dict[str, object] = dict(module_state(module))
    architecture = _architecture(model_file, settings, tensors)
    words, named = vocabulary(cache_file, *_words(cache_file, architecture.cutoffs[-1]))
    config = configuration(model_file, architecture, named)
    drop_copies(tensors, architecture, model_file)
    weights = convert_weights(Weights(tensors, model_file), architecture)
    return Converted(
        config=config,
        weights=weights,
        vocabulary=words,
        files=(model_file, cache_file),
        column_order=architecture.column_order,
        notes=(architecture.lengths_note,),
    )


def _words(file: Path, size: int) -> tuple[object, int, bool]:
    found = attributes(attributes(load(file)).get("vocab"))
    return found.get("idx2sym"), size, bool(found.get("lower_case"))


def _architecture(file: Path, settings: dict[str, Any], tensors: dict[str, object]) -> Architecture:
    refuse_unknown(
        file, settings.get("attn_type"), settings.get("sample_softmax", -1), settings.get("ext_len")
    )
    parts = attributes(settings["_modules"])
    embedding = attributes(parts.get("word_emb"))
    layers = attributes(attributes(parts.get("layers")).get("_modules"))
    layer = attributes(attributes(layers.get("0")).get("_modules"))
    attention, feed_forward = attributes(layer.get("dec_attn")), attributes(layer.get("pos_ff"))
    for name, found, place in (
        ("cutoffs", embedding, "word_emb"), ("div_val", embedding, "word_emb"),
        ("d_inner", feed_forward, "layers.0.pos_ff"), ("pre_lnorm", attention, "layers.0.dec_attn"),
        *((name, settings, "the module") for name in ("d_model", "d_embed", "n_layer", "n_head", "d_head")),
        *((name, settings, "the module") for name in ("mem_len", "tgt_len", "same_length", "clamp_len")),
    ):  # fmt: skip
        if name not in found:
            raise CheckpointError(f"{file}: {place} has no {name}")
    edges, factor, memory = embedding["cutoffs"], embedding["div_val"], settings["mem_len"]
    if not isinstance(edges, list):
        raise CheckpointError(f"{file}: cutoffs {edges!r} are not a list")
    attended = attended_positions(file, memory, settings["same_length"])
    # Tied parameters are one parameter under two names.
    tied_projections = [
        _same(tensors, f"crit.out_projs.{i}", f"word_emb.emb_projs.{0 if factor == 1 else i}")
        for i in range(len(edges))
    ]
    return checked(
        file,
        lambda: Architecture(
            hidden=settings["d_model"],
            embedding=settings["d_embed"],
            cutoffs=edges,  # type: ignore[arg-type]  # pydantic checks them
            factor=factor,
            tied=_same(tensors, "crit.out_layers.0.weight", "word_emb.emb_layers.0.weight"),
            tied_projections=tuple(tied_projections),
            layers=settings["n_layer"],
            heads=settings["n_head"],
            head_size=settings["d_head"],
            inner=feed_forward["d_inner"],
            pre_norm=attention["pre_lnorm"],
            shared_biases=True,
            memory=memory,
            segment=settings["tgt_len"],
            attended=attended,  # type: ignore[arg-type]  # pydantic checks it
            initial_memory="empty",
            clamp=settings["clamp_len"],
            column_order="reversed",
        ),
    )


def _same(tensors: dict[str, object], one: str, other: str) -> bool:
    first, second = tensors.get(one), tensors.get(other)
    return isinstance(first, Tensor) and isinstance(second, Tensor) and first.equal(second)
