"""Results as JSON and as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

Row = dict[str, Any]

TOPK_COLUMNS: Final = {
    "log_prob + topk": ("adaptive_log_prob_topk_fp32",),
    "best log_prob": (
        "adaptive_log_prob_topk_fp32",
        "adaptive_log_prob_topk_bf16",
        "adaptive_log_prob_topk_fp32_compiled",
        "adaptive_log_prob_topk_bf16_compiled",
    ),
    "full + topk": ("full_softmax_topk_fp32",),
    "best full": (
        "full_softmax_topk_fp32",
        "full_softmax_topk_bf16",
        "full_softmax_topk_fp32_compiled",
        "full_softmax_topk_bf16_compiled",
    ),
    "best torch": ("best_torch",),
    "torch, words": ("best_torch_words",),
}
"""Column -> baselines, the fastest of which counts."""

SCORE_COLUMNS: Final = {
    "forward": ("module_forward_fp32",),
    "best forward": ("module_forward_fp32", "module_forward_bf16", "module_forward_fp32_compiled"),
    "cross-entropy": ("cross_entropy_chunked_fp32",),
}

LEGEND: Final = """\
`ours` is the median, in milliseconds; ratios say how many times as long a baseline took in the same run, so
below 1 we lose. *log_prob* is torch's `AdaptiveLogSoftmaxWithLoss.log_prob` and topk in float32, *full* a
full softmax and topk in float32; *best* of each is the fastest of float32, bfloat16 and those compiled by
inductor (max-autotune). *best torch* is the fastest of torch that answers as exactly as this mode of ours:
`log_prob` or head first (`models/benchmarking/composite.py`), in float32; for the fast mode also screened in
bfloat16 or 8 bits with exact words and about right log-probabilities, the fastest of which stands under
*torch, words* in every row. All threads for all, taking turns, caches as the one before left them. *opens* is
the share of rows that open a cluster, *words* the share of the vocabulary that is scored, *roofline* the
share of what the machine could do at most, and by what it is bound. *error* is the largest difference of a
log-probability from brute force in float64, of a fast answer beside the bound that it told."""


def to_json(report: Row) -> str:
    """A row a line: results are read by people and compared by diff."""
    head = {name: value for name, value in report.items() if name != "rows"}
    rows = ",\n".join("  " + json.dumps(row) for row in report["rows"])
    return json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'


def to_markdown(report: Row) -> str:
    """A table for each shape."""
    machine, ceilings = report["machine"], report["ceilings"]
    lines = [
        f"# {report['title']}",
        "",
        f"{machine['date']}, commit {machine['commit']}, {machine['processor']},",
        f"{machine['threads']} threads, torch {machine['torch']}; load before: {machine['load_before']}.",
        *_instructions(machine.get("instructions")),
        "",
        "Ceilings: " + ", ".join(f"{name} {value:g}" for name, value in ceilings.items()) + ".",
        "",
        *LEGEND.split("\n"),
    ]
    for (kind, shape), group in groupby(report["rows"], key=lambda row: (_kind(row), row["shape"])):
        rows = list(group)
        lines += ["", f"## {shape}: {kind}", "", *(_topk(rows) if kind == "top-k" else _score(rows))]
    for shape, skipped in report.get("skipped", {}).items():
        lines += ["", *(f"- {shape}: no {name}: {reason}." for name, reason in skipped.items())]
    return "\n".join(lines) + "\n"


def _instructions(found: Row | None) -> list[str]:
    if found is None:
        return []
    variables = " ".join(f"{name}={value}" for name, value in found["variables"].items())
    return [f"Instructions: ours {found['ours']}, torch {found['torch']}{variables and f' ({variables})'}."]


def _kind(row: Row) -> str:
    return "top-k" if "k" in row else "scoring"


def _topk(rows: Sequence[Row]) -> list[str]:
    titles = ["rows", "k", "opens", "words", "mode", "ours", *TOPK_COLUMNS, "GB/s", "roofline", "error"]
    return _table(
        titles,
        [
            [
                f"{row['batch']}",
                f"{row['k']}",
                f"{row['expansion']}: {row['rows_that_open']:.0%}",
                f"{row['words_scored']:.1%}",
                row["mode"],
                _digits(row["ours_ms"]),
                *_ratios(row, TOPK_COLUMNS),
                _digits(row["gb_per_second"]),
                f"{row['share_of_roofline']:.0%} {row['bound']}",
                _error(row),
            ]
            for row in rows
        ],
    )


def _score(rows: Sequence[Row]) -> list[str]:
    titles = ["rows", "mode", "ours", "words/s", *SCORE_COLUMNS, "roofline", "error"]
    return _table(
        titles,
        [
            [
                f"{row['batch']}",
                row["mode"],
                _digits(row["ours_ms"]),
                f"{row['words_per_second']:,.0f}",
                *_ratios(row, SCORE_COLUMNS),
                f"{row['share_of_roofline']:.0%} {row['bound']}",
                _error(row),
            ]
            for row in rows
        ],
    )


def _ratios(row: Row, columns: dict[str, tuple[str, ...]]) -> list[str]:
    result = []
    for names in columns.values():
        there = [row["ratios"][name] for name in names if name in row["ratios"]]
        result.append(f"{_digits(min(there))}x" if there else "-")
    return result


def _error(row: Row) -> str:
    wrong = "" if row.get("ids_exact", True) else "WRONG WORDS "
    bound = f" ({row['logprob_error']:.1g})" if "logprob_error" in row else ""
    return f"{wrong}{row['max_logprob_error']:.1g}{bound}"


def _digits(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    left = {"mode", "opens"}
    return [
        "| " + " | ".join(titles) + " |",
        "|" + "|".join("---" if title in left else "---:" for title in titles) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
