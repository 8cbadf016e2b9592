"""`headfirst inspect MODEL`: what a model is made of."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.shared.options import Device
from service.commands.shared.session import load_bundle, session, show, standard_output

if TYPE_CHECKING:
    from models.bundle import Bundle

_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1}


def inspect(
    model: Annotated[
        Path | None,
        typer.Argument(
            envvar="HEADFIRST_MODEL",
            show_default="the model that ships with the package",
            help="Directory of the model bundle.",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Load and check a model; show its sizes, its clusters, and where its parameters and bytes are."""
    with session("inspect"):
        facts = inspection(load_bundle(model, device, None))
        if as_json:
            from pydantic_core import to_json

            out = standard_output()
            out.write(to_json(facts, indent=2) + b"\n")
            out.flush()
        else:
            from service.commands.shared.tables import tables

            show(*tables(facts))


def inspection(bundle: Bundle) -> dict[str, Any]:
    """Plain facts about a loaded model; bytes are those of its weights, on disk and in memory."""
    config, vocabulary = bundle.config, bundle.vocabulary
    parts = _parts(bundle)
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "architecture": config.architecture,
        "body": config.body.model_dump(exclude={"type"}),
        "window": bundle.model.window,
        "hidden_size": config.hidden_size,
        "vocabulary_size": config.vocabulary_size,
        "special_words": {
            "unknown": vocabulary.word(vocabulary.unknown_id),
            "end": vocabulary.word(vocabulary.end_id),
            "start": vocabulary.word(vocabulary.start_id),
            "never_predicted": [vocabulary.word(i) for i in sorted(vocabulary.special_ids)],
        },
        "tokenization": config.tokenization.model_dump(),
        "tied": config.tied,
        "tied_projections": config.tied_projections,
        "embedding_size": config.input_size,
        "embedding_scale": config.embedding_scale,
        "input_bands": [
            {"words": words, "width": width, "projected": projected}
            for words, width, projected in zip(
                (high - low for low, high in pairwise((0, *config.input_edges))),
                config.input_widths,
                config.input_projected,
                strict=True,
            )
        ],
        "dtype": bundle.dtype,
        "quantization": None if config.quantization is None else config.quantization.model_dump(),
        "kernels": bundle.model.kernels,
        "device": str(bundle.device),
        "parameters": bundle.model.parameter_count(),
        "memory_bytes": sum(part["memory_bytes"] for part in parts),
        "disk_bytes": sum(part["disk_bytes"] for part in parts),
        "parts": parts,
        "files": {file.name: file.stat().st_size for file in sorted(bundle.path.iterdir()) if file.is_file()},
        "output": config.output,
        "shortlist": config.cutoffs[0],
        "clusters": config.n_clusters,
        "cutoffs": list(config.cutoffs),
        "factor": config.factor,
        "cluster_order": config.cluster_order,
        "biases": {"head": config.head_bias, "tails": config.tail_bias},
        "head_projection": config.head_projection,
        "tail_projections": config.tail_projections,
        "bands": _bands(bundle),
    }


def _parts(bundle: Bundle) -> list[dict[str, Any]]:
    from safetensors import safe_open

    from models.bundle import WEIGHTS
    from models.storage.weights_file import SCALE

    parts: dict[str, dict[str, Any]] = {}
    with safe_open(bundle.path / WEIGHTS, framework="pt") as stored:
        names = set(stored.keys())
        # A tied weight has one name, and counts for the output layer.
        for name, weight in bundle.model.named_parameters():
            part = parts.setdefault(_part(name), {"parameters": 0, "disk_bytes": 0, "memory_bytes": 0})
            part["parameters"] += weight.numel()
            for there in {name, name + SCALE} & names:
                entry = stored.get_slice(there)
                part["disk_bytes"] += prod(entry.get_shape()) * _STORED_BYTES[entry.get_dtype()]
            part["memory_bytes"] += weight.numel() * weight.element_size()
    return [{"part": part, **sizes} for part, sizes in parts.items()]


def _part(name: str) -> str:
    """``softmax.tails.1`` -> ``tail of band 1``."""
    layer, _, rest = name.partition(".")
    if layer != "softmax":
        return layer
    kind, _, band = rest.partition(".")
    return {
        "head_bias": "head",
        "head_projection": "head",
        "clusters": "head",
        "projections": "tail projections",
        "tails": f"tail of band {band}",
        "tail_biases": f"tail of band {band}",
        "band_tables": "bands of the output",
        "band_projections": "bands of the output",
    }.get(kind, kind)


def _bands(bundle: Bundle) -> list[dict[str, Any]]:
    cutoffs, first = bundle.config.cutoffs, 0
    bands = []
    for index, band in enumerate(bundle.config.bands):
        edges = cutoffs[first : first + band.clusters + 1]
        sizes = [high - low for low, high in pairwise(edges)]
        bands.append(
            {
                "band": index,
                "first_cluster": first,
                "clusters": band.clusters,
                "first_id": edges[0],
                "words": sum(sizes),
                "smallest_cluster": min(sizes),
                "largest_cluster": max(sizes),
                "width": band.width,
            }
        )
        first += band.clusters
    return bands
