"""Results -> Markdown and charts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.serving.closed_section import closed_table, failures, ratios, warm
from benchmarks.serving.engine_section import engine_section
from benchmarks.serving.open_section import open_section
from benchmarks.serving.results import LOADS, Results
from benchmarks.serving.table import table
from models.benchmarking.charts import grouped_bars


def charts(results: Results) -> dict[str, str]:
    """SVG texts by name."""
    groups = [f"{level} connection{'s' if level > 1 else ''}" for level in results.levels]
    rates = [
        (name, [results.closed(name, level, "rate") for level in results.levels]) for name in results.servers
    ]
    waits = [
        (name, [_ms(results.closed(name, level, "p50")) for level in results.levels])
        for name in results.servers
    ]
    found = {
        "throughput": grouped_bars("Predictions a second, cold texts", "1/s", groups, rates),
        "latency": grouped_bars("Median latency, cold texts", "ms", groups, waits, log=True),
    }
    loads = [f"{load:g} x capacity" for load in LOADS]
    good = [
        (name, [server.get("open", {}).get(f"{load:g}", {}).get("goodput") for load in LOADS])
        for name, server in results.servers.items()
    ]
    if any(value for _, row in good for value in row):
        title = "Open loop: answered within the deadline"
        found["open-loop"] = grouped_bars(title, "1/s", loads, good)
    return found


def markdown(results: Results, charts: dict[str, str]) -> str:
    """The report; `charts` are file names by chart name."""
    settings, machine = results.settings, results.found["machine"]
    lines = [
        f"# Serving, {results.found['date']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{machine['system']}; Python {machine['python']}, torch {machine['torch']}. "
        f"Commit {results.found['commit']}. Model {results.found['model']}.",
        "",
        f"**The server and the load generator share these {machine['cores']} cores.** Each of the peers' "
        f"model processes has {settings['threads']} torch thread(s); ours runs as it starts. "
        "None of them logs requests. "
        f"Medians of {settings['rounds']} runs of {settings['seconds']} s, after {settings['warm_up']} s "
        "of the same load; the servers take turns, started anew for each round. "
        "Load average before the rounds: "
        f"{results.found['load_average']}. Texts: contexts of 3 to 21 words of which no two are the same "
        "(cold).",
        "",
        f"Bytes of the request are the same for all. All answer the same ten words: {results.found['same']}.",
        "",
        *(f"* {note}" for note in results.found.get("notes", [])),
        "",
        "## Closed loop",
        "",
        *closed_table(results, "Predictions a second", "rate", lambda value: f"{value:,.0f}", max),
        *closed_table(results, "Median latency, ms", "p50", lambda value: f"{value * 1e3:.2f}", min),
        *closed_table(results, "99th percentile, ms", "p99", lambda value: f"{value * 1e3:.1f}", min),
        *closed_table(results, "CPU, cores", "cpu", lambda value: f"{value:.2f}", None),
        *failures(results),
        *_figures(charts, ("throughput", "latency")),
        *ratios(results),
        *warm(results),
        *open_section(results),
        *_figures(charts, ("open-loop",)),
        *_idle(results),
        *engine_section(results),
        "## Versions and settings",
        "",
        *table(
            ("server", "version", "model processes", "wait", "settings"),
            (
                (name, s["version"], str(s["workers"]), s["wait"], s["note"])
                for name, s in results.servers.items()
            ),
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _idle(results: Results) -> list[str]:
    def row(name: str, server: dict[str, Any]) -> list[str]:
        if "idle_cpu" not in server:
            return [name, "-", "-", "-"]
        idle = statistics.median(server["idle_cpu"])
        memory = statistics.median(server["memory_bytes"])
        return [
            name,
            f"{idle:.1%}",
            f"{memory / 2**20:,.0f}",
            f"{statistics.median(server['ready']):.1f}",
        ]

    seconds = results.settings["idle_seconds"]
    header = (
        "server",
        f"idle CPU over {seconds} s, of a core",
        "memory after load, MiB (PSS)",
        "ready, s",
    )
    return ["## Idle, memory, start", "", *table(header, (row(*item) for item in results.servers.items()))]


def _figures(charts: dict[str, str], names: Iterable[str]) -> list[str]:
    lines = [f"![{name}]({charts[name]})" for name in names if name in charts]
    return [*lines, ""] if lines else []


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
