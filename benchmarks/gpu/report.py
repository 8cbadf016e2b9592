"""The results of a GPU run: JSON with every number, Markdown with the tables."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


class Report:
    """Sections of rows, and notes; written to `out` (nowhere if None) as often as one likes."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self.sections: dict[str, list[Row]] = {}
        self.notes: list[str] = []
        self.machine: Row = {"python": platform.python_version(), "torch": torch.__version__}
        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            self.machine |= {
                "device": properties.name,
                "multiprocessors": properties.multi_processor_count,
                "memory_gib": round(properties.total_memory / 2**30, 1),
                "cuda": torch.version.cuda,
            }

    def add(self, section: str, rows: list[Row]) -> None:
        """Append rows to a section."""
        self.sections.setdefault(section, []).extend(rows)
        self.write()

    def note(self, text: str) -> None:
        """A line for the reader."""
        self.notes.append(text)

    def write(self) -> None:
        """Both files, as far as the run has come."""
        if self.out is None:
            return
        content = {"machine": self.machine, "notes": self.notes, "sections": self.sections}
        (self.out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
        (self.out / "gpu.md").write_text(self.markdown())

    def markdown(self) -> str:
        """A table a section; nested dictionaries become columns."""
        lines = ["# GPU results", "", ", ".join(f"{key} {value}" for key, value in self.machine.items()), ""]
        for name, rows in self.sections.items():
            flat = [_flatten(row) for row in rows]
            columns = list(dict.fromkeys(key for row in flat for key in row))
            lines += [f"## {name}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
            lines += ["| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |" for row in flat]
            lines.append("")
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])


def _flatten(row: Row) -> Row:
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            flat[key] = value
    return flat


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
