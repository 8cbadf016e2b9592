"""Runs -> medians -> tables in Markdown and charts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.serving.peers import OURS, OURS_ALL
from service.charts import grouped_bars

Run = dict[str, Any]
LOADS = 0.5, 0.9, 1.5


class Report:
    """The results of one command.

    Args:
        results: what `__main__` gathered; see there.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results
        self._servers: dict[str, Any] = results["servers"]
        self._levels: list[int] = results["settings"]["connections"]

    def closed(self, server: str, level: int, key: str, kind: str = "closed") -> float | None:
        """The median over the runs; None where there is none."""
        runs: list[Run] = self._servers[server].get(kind, {}).get(str(level), [])
        return statistics.median(run[key] for run in runs) if runs else None

    def charts(self) -> dict[str, str]:
        """SVG texts by name."""
        groups = [f"{level} connection{'s' if level > 1 else ''}" for level in self._levels]
        rates = [
            (name, [self.closed(name, level, "rate") for level in self._levels]) for name in self._servers
        ]
        waits = [
            (name, [_ms(self.closed(name, level, "p50")) for level in self._levels]) for name in self._servers
        ]
        charts = {
            "throughput": grouped_bars("Predictions a second, cold texts", "1/s", groups, rates),
            "latency": grouped_bars("Median latency, cold texts", "ms", groups, waits, log=True),
        }
        loads = [f"{load:g} x capacity" for load in LOADS]
        good = [
            (name, [server.get("open", {}).get(f"{load:g}", {}).get("goodput") for load in LOADS])
            for name, server in self._servers.items()
        ]
        if any(value for _, row in good for value in row):
            title = "Open loop: answered within the deadline"
            charts["open-loop"] = grouped_bars(title, "1/s", loads, good)
        return charts

    def markdown(self, charts: dict[str, str]) -> str:
        """The report; `charts` are file names by chart name."""
        settings, machine = self._results["settings"], self._results["machine"]
        lines = [
            f"# Serving, {self._results['date']}",
            "",
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
            f"{machine['system']}; Python {machine['python']}, torch {machine['torch']}. "
            f"Commit {self._results['commit']}. Model {self._results['model']}.",
            "",
            f"**The server and the load generator share these {machine['cores']} cores.** Each of the peers' "
            f"model processes has {settings['threads']} torch thread(s); ours runs as it starts. "
            "None of them logs requests. "
            f"Medians of {settings['rounds']} runs of {settings['seconds']} s, after {settings['warm_up']} s "
            "of the same load; the servers take turns, started anew for each round. "
            "Load average before the rounds: "
            f"{self._results['load_average']}. Texts: contexts of 3 to 21 words of which no two are the same "
            "(cold).",
            "",
            "Bytes of the request are the same for all. All answer the same ten words: "
            f"{self._results['same']}.",
            "",
            *(f"* {note}" for note in self._results.get("notes", [])),
            "",
            "## Closed loop",
            "",
            *self._closed_table("Predictions a second", "rate", lambda value: f"{value:,.0f}", max),
            *self._closed_table("Median latency, ms", "p50", lambda value: f"{value * 1e3:.2f}", min),
            *self._closed_table("99th percentile, ms", "p99", lambda value: f"{value * 1e3:.1f}", min),
            *self._closed_table("CPU, cores", "cpu", lambda value: f"{value:.2f}", None),
            *self._failures(),
            *self._figures(charts, ("throughput", "latency")),
            *self._ratios(),
            *self._warm(),
            *self._open(),
            *self._figures(charts, ("open-loop",)),
            *self._idle(),
            *self._inprocess(),
            "## Versions and settings",
            "",
            *_table(
                ("server", "version", "model processes", "wait", "settings"),
                (
                    (name, s["version"], str(s["workers"]), s["wait"], s["note"])
                    for name, s in self._servers.items()
                ),
            ),
        ]
        return "\n".join(lines).rstrip() + "\n"

    def _closed_table(
        self,
        title: str,
        key: str,
        show: Callable[[float], str],
        best: Callable[[Iterable[float]], float] | None,
    ) -> list[str]:
        def row(name: str) -> list[str]:
            cells = []
            for level in self._levels:
                value = self.closed(name, level, key)
                every = [self.closed(other, level, key) for other in self._servers]
                known = [other for other in every if other]
                text = "-" if value is None or (not value and key != "rate") else show(value)
                cells.append(f"**{text}**" if best and value and value == best(known) else text)
            return [name, *cells]

        header = (title, *(str(level) for level in self._levels))
        return _table(header, (row(name) for name in self._servers))

    def _failures(self) -> list[str]:
        found = []
        for name, server in self._servers.items():
            for level, runs in server.get("closed", {}).items():
                for key in ("refused_or_failed", "timeouts", "broken"):
                    if count := sum(run[key] for run in runs):
                        words = key.replace("_", " ")
                        found.append(f"* {name} at {level} connections: {count} requests {words}.")
            found += [f"* {name}: {error}" for error in server.get("errors", [])]
        return [*(found or ["No request failed, was refused or timed out."]), ""]

    def _ratios(self) -> list[str]:
        lines = ["### Ours against each", ""]
        ours = [self.closed(OURS, level, "rate") for level in self._levels]

        def row(name: str) -> list[str]:
            theirs = [self.closed(name, level, "rate") for level in self._levels]
            return [name, *(f"{a / b:.2f} x" if a and b else "-" for a, b in zip(ours, theirs, strict=True))]

        header = ("Our rate over", *(str(level) for level in self._levels))
        return [*lines, *_table(header, (row(name) for name in self._servers if name not in OURS_ALL))]

    def _warm(self) -> list[str]:
        ours = self._servers[OURS]
        if "warm" not in ours:
            return []
        cold, warm = ours["hit_rate_cold"], ours["hit_rate_warm"]
        header = ("headfirst, predictions a second", *(str(level) for level in self._levels))
        cells = [
            [self.closed(OURS, level, "rate", kind) for level in self._levels] for kind in ("closed", "warm")
        ]
        shown = [[f"{value:,.0f}" if value else "-" for value in row] for row in cells]
        return [
            "### With the state cache",
            "",
            "The same 2,000 contexts again and again: what the cache can give at most.",
            "",
            *_table(
                header,
                (
                    [f"cold texts, hit rate {cold:.1%}", *shown[0]],
                    [f"repeated texts, hit rate {warm:.1%}", *shown[1]],
                ),
            ),
        ]

    def _open(self) -> list[str]:
        capacity = self._results.get("capacity")
        if not capacity:
            return []
        deadline = self._results["settings"]["deadline"]

        def rows() -> Iterable[list[str]]:
            for load in LOADS:
                for name, server in self._servers.items():
                    run = server.get("open", {}).get(f"{load:g}")
                    if run:
                        yield self._open_row(load, name, run, capacity)

        settings = self._results["settings"]
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
            f"{deadline:g} s of it. The client, in Python, takes its own part of the cores (its CPU time is "
            "in the JSON). A server's CPU time includes what it did after the load's end.",
            "",
            *_table(header.split(","), rows()),
        ]

    @staticmethod
    def _open_row(load: float, name: str, run: Run, capacity: float) -> list[str]:
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

    def _idle(self) -> list[str]:
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

        seconds = self._results["settings"]["idle_seconds"]
        header = (
            "server",
            f"idle CPU over {seconds} s, of a core",
            "memory after load, MiB (PSS)",
            "ready, s",
        )
        return ["## Idle, memory, start", "", *_table(header, (row(*item) for item in self._servers.items()))]

    def _inprocess(self) -> list[str]:
        found = self._results.get("inprocess")
        if not found:
            return []
        raw, typing, lists = found["raw"], found["typing"], found["rescoring"]

        def overhead(level: int) -> str:
            ours, inside = self.closed(OURS, level, "rate"), raw.get(str(level), {}).get("rate")
            return f"{1 - ours / inside:.0%}" if ours and inside else "-"

        def rate(level: int) -> str:
            return f"{raw[str(level)]['rate']:,.0f}" if str(level) in raw else "-"

        single = self.closed(OURS, 1, "p50")
        over = f"{(single - found['direct']['p50']) * 1e3:+.2f} ms" if single else "-"
        return [
            "## The engine without HTTP",
            "",
            *_table(
                ("in flight", *(str(level) for level in self._levels)),
                (
                    ["`Engine.submit`, predictions a second", *map(rate, self._levels)],
                    ["what HTTP and the load generator cost of it", *map(overhead, self._levels)],
                ),
            ),
            f"A direct call of the model (tokenize, body, top-k; no engine): median "
            f"{found['direct']['p50'] * 1e3:.2f} ms; `Engine.submit` with one in flight "
            f"{raw['1']['p50'] * 1e3:.2f} ms; over HTTP at one connection {over} against the direct call.",
            "",
            *_table(
                ("engine time", "with", "without", "times less", "more"),
                (
                    [
                        "typing: words 191 to 200 of a text, state cache",
                        f"{typing['on'] * 1e3:.2f} ms",
                        f"{typing['off'] * 1e3:.2f} ms",
                        f"{typing['times_less']:.1f}",
                        f"hit rate {typing['hit_rate']:.2%} over {typing['sessions']} sessions",
                    ],
                    [
                        f"{lists['hypotheses']} hypotheses of {lists['length']} words: a list, or one by one",
                        f"{lists['list'] * 1e3:.0f} ms",
                        f"{lists['one_by_one'] * 1e3:.0f} ms",
                        f"{lists['times_less']:.1f}",
                        f"{lists['nodes']:.0f} nodes of {lists['hypotheses'] * lists['length']} words; "
                        f"largest difference {lists['difference']:.1e}; as so many requests at once "
                        f"{lists['at_once'] * 1e3:.0f} ms",
                    ],
                ),
            ),
        ]

    @staticmethod
    def _figures(charts: dict[str, str], names: Iterable[str]) -> list[str]:
        lines = [f"![{name}]({charts[name]})" for name in names if name in charts]
        return [*lines, ""] if lines else []


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    header = list(header)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]
