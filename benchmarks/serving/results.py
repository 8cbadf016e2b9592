"""What one command measured, and its medians."""

from __future__ import annotations

import statistics
from typing import Any

Run = dict[str, Any]
LOADS = 0.5, 0.9, 1.5


class Results:
    """The results of one command.

    Args:
        found: what `__main__` gathered; see there.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.settings: dict[str, Any] = found["settings"]
        self.servers: dict[str, Any] = found["servers"]
        self.levels: list[int] = self.settings["connections"]

    def closed(self, server: str, level: int, key: str, kind: str = "closed") -> float | None:
        """The median over the runs; None where there is none."""
        runs: list[Run] = self.servers[server].get(kind, {}).get(str(level), [])
        return statistics.median(run[key] for run in runs) if runs else None
