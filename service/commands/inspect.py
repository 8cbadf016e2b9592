"""`headfirst inspect MODEL`: what a model is made of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Device
from service.commands.session import load_bundle, session, show, standard_output

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from models.bundle import Bundle

_STORED_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


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
            show(*_tables(facts))


def inspection(bundle: Bundle) -> dict[str, Any]:
    """Plain facts about a loaded model; bytes are those of its weights, on disk and in memory."""
    config, vocabulary = bundle.config, bundle.vocabulary
    parts = _parts(bundle)
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "architecture": config.architecture,
        "body": config.body.model_dump(exclude={"type"}),
        "hidden_size": config.hidden_size,
        "vocabulary_size": config.vocabulary_size,
        "special_words": {
            "unknown": vocabulary.word(vocabulary.unknown_id),
            "end": vocabulary.word(vocabulary.end_id),
            "never_predicted": [vocabulary.word(i) for i in sorted(vocabulary.special_ids)],
        },
        "tied": config.tied,
        "embedding_scale": config.embedding_scale,
        "dtype": bundle.dtype,
        "kernels": bundle.model.kernels,
        "device": str(bundle.device),
        "parameters": bundle.model.parameter_count(),
        "memory_bytes": sum(part["memory_bytes"] for part in parts),
        "disk_bytes": sum(part["disk_bytes"] for part in parts),
        "parts": parts,
        "files": {file.name: file.stat().st_size for file in sorted(bundle.path.iterdir()) if file.is_file()},
        "shortlist": config.cutoffs[0],
        "clusters": config.n_clusters,
        "cutoffs": list(config.cutoffs),
        "bands": _bands(bundle),
    }


def _parts(bundle: Bundle) -> list[dict[str, Any]]:
    from safetensors import safe_open

    from models.bundle import WEIGHTS

    parts: dict[str, dict[str, Any]] = {}
    with safe_open(bundle.path / WEIGHTS, framework="pt") as stored:
        # A tied weight has one name, and counts for the output layer.
        for name, weight in bundle.model.named_parameters():
            part = parts.setdefault(_part(name), {"parameters": 0, "disk_bytes": 0, "memory_bytes": 0})
            part["parameters"] += weight.numel()
            part["disk_bytes"] += weight.numel() * _STORED_BYTES[stored.get_slice(name).get_dtype()]
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
        "projections": "tail projections",
        "tails": f"tail of band {band}",
        "tail_biases": f"tail of band {band}",
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


def _tables(facts: dict[str, Any]) -> list[RenderableType]:
    from rich.text import Text

    files = ", ".join(f"{name} {_bytes(size)}" for name, size in facts["files"].items())
    total = _bytes(sum(facts["files"].values()))
    return [
        _overview(facts),
        _layout(facts),
        _sizes(facts),
        Text(f"files: {files}; {total} in all", style="dim"),
    ]


def _overview(facts: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    special = facts["special_words"]
    body = ", ".join(f"{key} {value}" for key, value in facts["body"].items())
    table = Table(title=Text(facts["name"]), title_justify="left", show_header=False)
    for key, value in (
        ("path", facts["path"]),
        ("architecture", f"{facts['architecture']} ({body})"),
        ("hidden size", f"{facts['hidden_size']:,}"),
        ("vocabulary", f"{facts['vocabulary_size']:,} words"),
        ("special words", f"{special['unknown']} (unknown), {special['end']} (end of sentence)"),
        ("parameters", f"{facts['parameters']:,}"),
        ("embeddings", f"{'tied' if facts['tied'] else 'not tied'}, scale {facts['embedding_scale']:g}"),
        ("weights", f"{facts['dtype']} on disk, float32 on {facts['device']}"),
        *(
            (f"{part.replace('_fast', ' in fast mode')} runs on", kernel)
            for part, kernel in facts["kernels"].items()
        ),
    ):
        table.add_row(key, Text(value))
    return table


def _layout(facts: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="Adaptive softmax", title_justify="left")
    for name in ("", "clusters", "words", "ids", "words a cluster", "width"):
        table.add_column(name, justify="right" if name else "left")
    short = facts["shortlist"]
    table.add_row("head", "", f"{short:,}", f"0-{short - 1}", "", f"{facts['hidden_size']}")
    for band in facts["bands"]:
        table.add_row(
            f"band {band['band']}",
            f"{band['clusters']} ({band['first_cluster']}-{band['first_cluster'] + band['clusters'] - 1})",
            f"{band['words']:,}",
            f"{band['first_id']}-{band['first_id'] + band['words'] - 1}",
            f"{band['smallest_cluster']:,} to {band['largest_cluster']:,}",
            f"{band['width']}",
        )
    return table


def _sizes(facts: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="Parameters", title_justify="left")
    for name in ("part", "parameters", "share", "on disk", "in memory"):
        table.add_column(name, justify="left" if name == "part" else "right")
    total = {"part": "total", **{key: facts[key] for key in ("parameters", "disk_bytes", "memory_bytes")}}
    for part in (*facts["parts"], total):
        if part is total:
            table.add_section()
        share = f"{part['parameters'] / facts['parameters']:.1%}"
        sizes = (_bytes(part["disk_bytes"]), _bytes(part["memory_bytes"]))
        table.add_row(part["part"], f"{part['parameters']:,}", share, *sizes)
    return table


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 10_000 else f"{count:,} B"
