"""What `headfirst inspect` shows a person: the facts as tables."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def tables(facts: dict[str, Any]) -> list[RenderableType]:
    """Overview, layout of the output layer, sizes, files."""
    files = ", ".join(f"{name} {_bytes(size)}" for name, size in facts["files"].items())
    total = _bytes(sum(facts["files"].values()))
    return [
        _overview(facts),
        _layout(facts),
        _sizes(facts),
        Text(f"files: {files}; {total} in all", style="dim"),
    ]


def _overview(facts: dict[str, Any]) -> Table:
    window = facts["window"]
    table = Table(title=Text(facts["name"]), title_justify="left", show_header=False)
    for key, value in (
        ("path", facts["path"]),
        ("architecture", f"{facts['architecture']}: {layers(facts['body'])}"),
        ("reads", "the whole text" if window is None else f"the last {window:,} words at most"),
        ("hidden size", f"{facts['hidden_size']:,}"),
        ("vocabulary", f"{facts['vocabulary_size']:,} words, tokenization {facts['tokenization']['type']}"),
        ("special words", _special(facts["special_words"])),
        ("parameters", f"{facts['parameters']:,}"),
        ("embeddings", _embeddings(facts)),
        ("softmax", _softmax(facts)),
        ("weights", f"{facts['dtype']} on disk, {_memory(facts)} on {facts['device']}"),
        *(() if facts["quantization"] is None else (("8 bits cost", _cost(facts["quantization"]["cost"])),)),
        *(
            (f"{part.replace('_fast', ' in fast mode')} runs on", kernel)
            for part, kernel in facts["kernels"].items()
        ),
    ):
        table.add_row(key, Text(value))
    return table


def _memory(facts: dict[str, Any]) -> str:
    return "float32" if facts["quantization"] is None else "the body in 8 bits, the rest in float32"


def _cost(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return "not measured"
    before, after = cost["perplexity_before"], cost["perplexity"]
    return (
        f"perplexity {before:.3f} to {after:.3f} ({after / before - 1:+.2%}), the same first word in"
        f" {cost['same_first']:.1%} of {cost['words']:,}"
    )


def layers(body: dict[str, Any]) -> str:
    """``{"layers": 2, "units": 650, "residual": False}`` -> ``2 layers, units 650``."""
    every = body["layers"]
    if isinstance(every, int):
        parts = [f"{every} layers"]
    else:  # each with sizes of its own
        sizes = [" ".join(f"{key} {value}" for key, value in layer.items()) for layer in every]
        parts = [f"{len(every)} layers", *(f"{len([*same])} of {size}" for size, same in groupby(sizes))]
    for key, value in body.items():
        if key == "layers" or value in (False, None, (), [], 0):
            continue
        text = "/".join(map(str, value)) if isinstance(value, list | tuple) else value
        parts.append(key if value is True else f"{key} {text}")
    return ", ".join(parts).replace("_", " ")


def _special(words: dict[str, Any]) -> str:
    text = f"{words['unknown']} (unknown), {words['end']} (end of sentence)"
    if words["start"] != words["end"]:
        text += f", {words['start']} (start)"
    never = len(words["never_predicted"])
    return f"{text}; {never} never predicted" if never > 1 else text


def _embeddings(facts: dict[str, Any]) -> str:
    tied = "tied" if facts["tied"] else "not tied"
    if facts["tied_projections"]:
        tied += ", projections too"
    tables = len(facts["input_bands"])
    bands = f", {tables} tables" if tables > 1 else ""
    return f"{tied}, size {facts['embedding_size']}{bands}, scale {facts['embedding_scale']:g}"


def _softmax(facts: dict[str, Any]) -> str:
    if facts["output"] != "adaptive":
        return str(facts["output"])
    if not facts["clusters"]:
        return "plain, no clusters"
    parts = [f"{facts['clusters']} clusters in {facts['cluster_order']} order"]
    if facts["factor"] is not None:
        parts.append(f"factor {facts['factor']:g}")
    if facts["head_projection"] is not None:
        parts.append(f"short-list projected to {facts['head_projection']}")
    if not facts["tail_projections"]:
        parts.append("tails not projected")
    biased = [part for part, has in facts["biases"].items() if has]
    parts.append(f"biases in {' and '.join(biased)}" if biased else "no biases")
    return ", ".join(parts)


def _layout(facts: dict[str, Any]) -> Table:
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
