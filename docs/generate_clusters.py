"""Writes the figures of docs/clusters.md from the newest results: python -m docs.generate_clusters [--check]

What stands between ``<!-- figures: NAME -->`` and ``<!-- end -->`` is replaced. A block whose results are not
there, or are of an older form, is left as it is.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import default_clusters, many_clusters
from benchmarks.paper import report

PAGE = Path(__file__).with_name("clusters.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]


def newest(pattern: str, results: Path) -> tuple[str, Result] | None:
    """The stem and content of the last file by date whose name matches, if any."""
    found = sorted(file for file in results.glob("*.json") if re.fullmatch(pattern, file.stem))
    return (found[-1].stem, json.loads(found[-1].read_text("utf-8"))) if found else None


def machine(result: Result) -> str:
    """Where it was measured."""
    facts = result["machine"]
    return f"{facts['processor']}, {facts['threads']} thread{'s' * (facts['threads'] > 1)}"


def picture(title: str, stem: str, name: str) -> str:
    """A chart beside the results."""
    return f"![{title}](../benchmarks/results/{stem}-{name}.svg)"


def fit(stem: str, result: Result) -> list[str]:
    """g on this device."""
    times, g = result["times"], result["times"]["g"]
    elbow = f"k0 B0 = {g['elbow']:,.0f}" if g["elbow"] else "no elbow to be seen: a CPU is busy at once"
    return [
        f"Here ({machine(result)}, 128 dimensions, float32): c = {g['c'] * 1e6:.1f} us, lambda ="
        f" {g['slope'] * 1e9:.2f} ns, {elbow}. {report.fit_of_g(times)}",
        "",
        picture("g(k, B), measured and fitted", stem, "g"),
    ]


def plans(stem: str, result: Result) -> list[str]:
    """Predicted times by number of clusters."""
    seconds = {len(plan["cutoffs"]) - 1: plan["seconds"] for plan in result["times"]["plans"]}
    named = ", ".join(f"{seconds[n] * 1e3:.1f} ms with {n}" for n in (1, 2, 3, 4, 8, 12) if n in seconds)
    return [
        f"The output layer's part of a training step, predicted: {named}.",
        "",
        picture("Time of a step by number of clusters", stem, "clusters"),
    ]


def grid(stem: str, result: Result) -> list[str]:
    """The planner's choice beside the best of a grid."""
    lines = [
        "| text | planner's cutoffs | predicted | measured | best of the grid | measured | difference |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    for name, one in result["texts"].items():
        lines.append(
            f"| {name} | {_edges(one['chosen'])} | {one['predicted_ms']:.1f} ms | {one['chosen_ms']:.1f} ms |"
            f" {_edges(one['best_of_grid'])} | {one['best_ms']:.1f} ms | {one['chosen_to_best'] - 1:+.1%} |"
        )
    return [*lines, "", f"({machine(result)}; `{stem}.json`)"]


def paper(stem: str, result: Result) -> list[str]:
    """The paper's table."""
    return [*report.table(result["results"]), "", *report.verdict(result["results"]), "",
            f"({machine(result)}; `{stem}.json`)"]  # fmt: skip


def ranks(stem: str, result: Result) -> list[str]:
    """Perplexity by frequency."""
    return report.by_rank(result["results"])


def sweep(stem: str, result: Result) -> list[str]:
    """1 to 200 clusters."""
    chart = picture("Perplexity against serving speed", stem, "serving")
    return [*report.sweep(result["results"]), "", chart]


def shapes(stem: str, result: Result) -> list[str]:
    """Heads and clusters, over seeds."""
    return many_clusters.table(result["runs"])


def shape_ranks(stem: str, result: Result) -> list[str]:
    """The same by frequency."""
    return many_clusters.by_rank(result["runs"])


def default(stem: str, result: Result) -> list[str]:
    """The model that ships, and copies of it."""
    where = f"({machine(result)}; `{stem}.json`)"
    return [
        *default_clusters.table(result["results"]),
        "",
        default_clusters.verdict(result["results"]),
        "",
        where,
    ]


def trials(stem: str, result: Result) -> list[str]:
    """Optimizers."""
    names = [name for name, _ in result["columns"]]
    lines = [f"| training | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for title, cells in result["rows"]:
        shown = [f"{cells[key]:.0f}" if key in cells else "" for _, key in result["columns"]]
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return [*lines, "", f"({result['setting']}; `{stem}.json`)"]


DATE = r"\d{4}-\d\d-\d\d"
BLOCKS: dict[str, tuple[str, Callable[[str, Result], list[str]]]] = {
    "g": (f"paper-{DATE}", fit),
    "plans": (f"paper-{DATE}", plans),
    "grid": (f"cutoffs-grid-{DATE}", grid),
    "paper": (f"paper-{DATE}", paper),
    "ranks": (f"paper-{DATE}", ranks),
    "sweep": (f"paper-{DATE}", sweep),
    "shapes": (f"shapes-{DATE}", shapes),
    "shape-ranks": (f"shapes-{DATE}", shape_ranks),
    "default": (f"default-clusters-{DATE}", default),
    "trials": (f"paper-trials-{DATE}", trials),
}


def page(text: str, results: Path = RESULTS) -> str:
    """The page with the newest figures."""

    def replaced(match: re.Match[str]) -> str:
        opening, name, _, end = match.groups()
        pattern, made = BLOCKS[name]
        found = newest(pattern, results)
        if found is None or not _of_today(found[1]):
            return match.group()
        return opening + "\n" + "\n".join(made(*found)) + "\n\n" + end

    return _BLOCK.sub(replaced, text)


def _of_today(result: Result) -> bool:
    """Whether results have the form that is written now."""
    if "times" in result:
        return "g_error_all" in result["times"]
    return "chosen" not in result  # a grid of one text


def _edges(cutoffs: list[int]) -> str:
    return ", ".join(f"{edge:,}" for edge in cutoffs)


def main() -> int:
    """Writes the page, or with --check only says whether it is as it should be."""
    before = PAGE.read_text("utf-8")
    after = page(before)
    if "--check" in sys.argv[1:]:
        print(
            f"docs/clusters.md is {'as the results say' if before == after else 'out of date'}",
            file=sys.stderr,
        )
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
