"""What was measured in a closed loop, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.serving.peers import OURS, OURS_ALL
from benchmarks.serving.results import Results
from benchmarks.serving.table import table


def closed_table(
    results: Results,
    title: str,
    key: str,
    show: Callable[[float], str],
    best: Callable[[Iterable[float]], float] | None,
) -> list[str]:
    """A row for each server, a column for each number of connections.

    Args:
        title: of the table.
        key: what of a run is shown.
        show: how.
        best: of a column's values, in bold; None for none.
    """

    def row(name: str) -> list[str]:
        cells = []
        for level in results.levels:
            value = results.closed(name, level, key)
            every = [results.closed(other, level, key) for other in results.servers]
            known = [other for other in every if other]
            text = "-" if value is None or (not value and key != "rate") else show(value)
            cells.append(f"**{text}**" if best and value and value == best(known) else text)
        return [name, *cells]

    header = (title, *(str(level) for level in results.levels))
    return table(header, (row(name) for name in results.servers))


def failures(results: Results) -> list[str]:
    """What went wrong, a line each."""
    found = []
    for name, server in results.servers.items():
        for level, runs in server.get("closed", {}).items():
            for key in ("refused_or_failed", "timeouts", "broken"):
                if count := sum(run[key] for run in runs):
                    words = key.replace("_", " ")
                    found.append(f"* {name} at {level} connections: {count} requests {words}.")
        found += [f"* {name}: {error}" for error in server.get("errors", [])]
    return [*(found or ["No request failed, was refused or timed out."]), ""]


def ratios(results: Results) -> list[str]:
    """Our rate over that of each peer."""
    lines = ["### Ours against each", ""]
    ours = [results.closed(OURS, level, "rate") for level in results.levels]

    def row(name: str) -> list[str]:
        theirs = [results.closed(name, level, "rate") for level in results.levels]
        return [name, *(f"{a / b:.2f} x" if a and b else "-" for a, b in zip(ours, theirs, strict=True))]

    header = ("Our rate over", *(str(level) for level in results.levels))
    return [*lines, *table(header, (row(name) for name in results.servers if name not in OURS_ALL))]


def warm(results: Results) -> list[str]:
    """Ours with texts that repeat; nothing where that was not measured."""
    ours = results.servers[OURS]
    if "warm" not in ours:
        return []
    header = ("headfirst, predictions a second", *(str(level) for level in results.levels))
    cells = [
        [results.closed(OURS, level, "rate", kind) for level in results.levels] for kind in ("closed", "warm")
    ]
    shown = [[f"{value:,.0f}" if value else "-" for value in row] for row in cells]
    return [
        "### With the state cache",
        "",
        "The same 2,000 contexts again and again: what the cache can give at most.",
        "",
        *table(
            header,
            (
                [f"cold texts, hit rate {ours['hit_rate_cold']:.1%}", *shown[0]],
                [f"repeated texts, hit rate {ours['hit_rate_warm']:.1%}", *shown[1]],
            ),
        ),
    ]
