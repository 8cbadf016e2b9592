"""What was measured in an open loop, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.serving.results import LOADS, Results, Run
from benchmarks.serving.table import table


def open_section(results: Results) -> list[str]:
    """The heading, how it was measured, and a row for each load and server; nothing if it was not."""
    settings, capacity = results.settings, results.found.get("capacity")
    if not capacity:
        return []

    def rows() -> Iterable[list[str]]:
        for load in LOADS:
            for name, server in results.servers.items():
                run = server.get("open", {}).get(f"{load:g}")
                if run:
                    yield _row(load, name, run, capacity)

    header = (
        "load,server,sent/s,goodput/s,of capacity,p50 ms,p99 ms,"
        "refused,their p99 ms,first refused p99 ms,other,CPU s a s"
    )
    return [
        "## Open loop",
        "",
        f"Poisson arrivals at multiples of our capacity, {capacity:,.0f}/s (our best closed-loop rate in "
        f"this run); the same arrivals for every server, {settings['open_seconds']} s each, "
        f"ours at {LOADS[-1]:g} times {settings['overload_seconds']} s, "
        f"after {settings['warm_up']:g} s of the same load, in which the connections are opened (counted "
        "apart: 'first refused'). "
        "Latency counts from the time a request was due; goodput is what was answered within "
        f"{settings['deadline']:g} s of it. The client, in Python, takes its own part of the cores (its CPU "
        "time is in the JSON). A server's CPU time includes what it did after the load's end.",
        "",
        *table(header.split(","), rows()),
    ]


def _row(load: float, name: str, run: Run, capacity: float) -> list[str]:
    other = {k: v for k, v in run["statuses"].items() if k not in ("200", "429", "503") and v}
    return [
        f"{load:g}",
        name,
        f"{run['sent'] / run['seconds']:,.0f}",
        f"{run['goodput']:,.0f}",
        f"{run['goodput'] / capacity:.0%}",
        *(f"{run[key] * 1e3:,.1f}" if key in run else "-" for key in ("answered_p50", "answered_p99")),
        str(run["refused"]),
        *(
            f"{one['refused_p99'] * 1e3:,.1f}" if "refused_p99" in one else "-"
            for one in (run, run["warm_up"])
        ),
        ", ".join(f"{v} {k}" for k, v in other.items()) or "-",
        f"{run['cpu']:.2f}",
    ]
