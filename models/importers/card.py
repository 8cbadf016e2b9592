"""The model card of an imported bundle: where its weights come from, as far as the files tell."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from models.importers.base import Converted


def model_card(name: str, form: str, source: Path, converted: Converted, parameters: int, dtype: str) -> str:
    """Markdown: provenance with the SHA-256 of what was read, sizes, and that no license is known."""
    config = converted.config
    clusters = f"{config.n_clusters} tail clusters" if config.n_clusters else "no tail"
    lines = [
        f"# {name}",
        "",
        "A word-level language model with an adaptive softmax, trained elsewhere and imported by"
        f" `headfirst import {form}`.",
        "",
        "## Provenance",
        "",
        f"Format `{form}`; read from `{source.name}` on {datetime.now(UTC):%Y-%m-%d}; weights stored as"
        f" {dtype}; torch {metadata.version('torch')}.",
        "",
        "| file | bytes | SHA-256 |",
        "|---|---:|---|",
        *(f"| `{file.name}` | {file.stat().st_size:,} | `{_digest(file)}` |" for file in converted.files),
        "",
        f"The source's cluster columns are in {converted.column_order} order, here in natural order."
        if config.n_clusters
        else "A softmax over all words: it has no cluster columns.",
        *(f"\n{note}" for note in converted.notes),
        "",
        "## Sizes",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {parameters:,} |",
        f"| vocabulary | {config.vocabulary_size:,} words |",
        f"| body | {config.architecture} |",
        f"| hidden size | {config.hidden_size} |",
        f"| cutoffs | {', '.join(map(str, config.cutoffs))} ({clusters}) |",
        f"| tokenization | {config.tokenization.type} |",
        f"| special words | {', '.join(f'`{word}`' for word in _special(converted))} |",
        "",
        "## Data and licenses",
        "",
        "Unknown: the files do not state the license of these weights, nor what they were trained on. Ask"
        " their publishers.",
        "",
    ]
    return "\n".join(lines)


def _special(converted: Converted) -> list[str]:
    config, most = converted.config, 8
    words = [config.unknown_word, config.end_word, *filter(None, [config.start_word]), *config.special_words]
    words = list(dict.fromkeys(words))
    return words if len(words) <= most else [*words[:most], f"and {len(words) - most} others"]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
