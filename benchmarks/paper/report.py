"""Results -> the table in Markdown and the curves."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.paper.methods import CURVE, TABLE, Setting
from models.benchmarking.charts import Series, plot
from models.training.clusters.timing import TimeModel

Results = dict[str, dict[str, Any]]


def markdown(machine: dict[str, Any], setting: Setting, times: dict[str, Any], results: Results) -> str:
    """The report."""
    full = results["full"]
    options = setting.options
    parts = [
        [f"# The paper's table, {setting.name} setting"],
        [", ".join(f"{key} {value}" for key, value in machine.items())],
        [
            f"LSTM of {setting.units} units, hidden size {setting.hidden_size}, vocabulary"
            f" {setting.vocabulary_size:,}; {full['words_seen']:,} words seen by each method,"
            f" {full['words']:,} held out; {options.optimizer}, learning rate {options.learning_rate:g}. The"
            " paper: Text8, vocabulary 44k, on a GPU. Speed-up is of training time."
        ],
        table(results),
        verdict(results),
        ["Perplexity by frequency rank (in the last row that of the frequencies alone):"],
        by_rank(results),
        ["Clusters in shared bands, from 1 to 200:"],
        sweep(results),
        [fit_of_g(times)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def table(results: Results) -> list[str]:
    """The paper's, ours beside it."""
    full = results["full"]
    lines = [
        "| output layer | perplexity | s | speed-up | paper: perplexity | min | speed-up |"
        " top-10 a second, 1 row | 16 rows | words scored a top-10 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method in TABLE:
        found = results[method.key]
        paper = ["", "", ""]
        if method.paper is not None:
            perplexity, minutes = method.paper
            paper = [f"{perplexity}", f"{minutes}", f"{83 / minutes:.1f}x"]
        lines.append(
            f"| {method.title} | {found['perplexity']:.1f} | {found['seconds']:.0f} |"
            f" {full['seconds'] / found['seconds']:.1f}x | {' | '.join(paper)} |"
            f" {found['top10_a_second']['1']:,.0f} | {found['top10_a_second']['16']:,.0f} |"
            f" {found['top10']['words_scored']:,.0f} |"
        )
    return lines


def by_rank(results: Results) -> list[str]:
    """Perplexity of each method by frequency band."""
    bands = results["full"]["bands"]
    heads = [f"{band['ranks'][0]:,} to {band['ranks'][1]:,}" for band in bands]
    lines = [f"| rank | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for method in TABLE:
        cells = [f"{band['perplexity']:,.0f}" for band in results[method.key]["bands"]]
        lines.append(f"| {method.title} | {' | '.join(cells)} |")
    cells = [f"{band['unigram']:,.0f}" for band in bands]
    return [*lines, f"| frequencies alone | {' | '.join(cells)} |"]


def sweep(results: Results) -> list[str]:
    """The runs with clusters in shared bands."""
    lines = [
        "| tail clusters | perplexity | s | rows that open one, k = 1 / 10 | words scored a top-10 |"
        " top-10 a second, 1 row |",
        "|---:|---:|---:|---|---:|---:|",
    ]
    for found in curve(results):
        opened = " / ".join(f"{found[top]['rows_that_open']:.0%}" for top in ("top1", "top10"))
        lines.append(
            f"| {found['clusters']} | {found['perplexity']:.1f} | {found['seconds']:.0f} | {opened} |"
            f" {found['top10']['words_scored']:,.0f} | {found['top10_a_second']['1']:,.0f} |"
        )
    return lines


def fit_of_g(times: dict[str, Any]) -> str:
    """How well g fits, in a sentence."""
    fewest = min(batch for _, batch, _ in times["points"])
    return (
        f"Fit of g(k, B) to matrix products on this device: median error {times['g_error']:.1%} from"
        f" {times['g_least_rows']} rows up; over all, from {fewest} rows up, {times['g_error_all']:.1%}, with"
        f" mu {times['g_with_mu_error']:.1%}; of training steps, all widths, {times['training_error']:.1%}."
    )


def verdict(results: Results) -> list[str]:
    """The paper's two claims about the table, and what became of them here."""
    full, adaptive = results["full"], results["adaptive"]
    worse = adaptive["perplexity"] / full["perplexity"] - 1
    faster = full["seconds"] / adaptive["seconds"]
    compared = [method for method in TABLE if method.paper is not None]
    ours = sorted(compared, key=lambda method: float(results[method.key]["perplexity"]))
    theirs = sorted(compared, key=lambda method: method.paper or (0, 0))
    return [
        f"Adaptive against full softmax: perplexity {worse:+.1%} at {faster:.1f} times the speed of training"
        " (in the paper +2.1% at 2.8 times).",
        "",
        "Best to worst here: " + "; ".join(method.title for method in ours) + ".",
        "",
        "In the paper: "
        + "; ".join(f"{method.title} {method.paper[0]}" for method in theirs if method.paper)
        + ".",
    ]


def curve(results: Results) -> list[dict[str, Any]]:
    """The runs with clusters in shared bands, fewest first."""
    found = [results[m.key] for m in (*TABLE, *CURVE) if m.clusters and m.key in results]
    return sorted(found, key=lambda one: one["clusters"])


def charts(times: dict[str, Any], results: Results) -> dict[str, str]:
    """SVG by name."""
    points = times["points"]
    g, with_mu = TimeModel(**times["g"]), TimeModel(**times["g_with_mu"])
    work = np.geomspace(points[0][0] * points[0][1], max(k * batch for k, batch, _ in points), 80)
    batches = sorted({batch for _, batch, _ in points})
    series = [
        Series(f"B = {b}", [(k * b, s * 1e3) for k, batch, s in points if batch == b], marks=True)
        for b in batches
    ]
    series.append(Series("g(k, B)", [(w, float(g(w, 1)) * 1e3) for w in work]))
    middle = batches[len(batches) // 2]
    line = [(w, float(with_mu(w / middle, middle)) * 1e3) for w in work]
    series.append(Series(f"with mu, B = {middle}", line))
    plans = [(len(plan["cutoffs"]) - 1, plan["seconds"] * 1e3) for plan in times["plans"]]
    shared = curve(results)
    table = [results[method.key] for method in TABLE if not method.clusters]
    speed = Series(
        "clusters in shared bands",
        [(one["top10_a_second"]["1"], one["perplexity"]) for one in shared],
        marks=True,
        labels=[str(one["clusters"]) for one in shared],
    )
    others = Series(
        "the other layers",
        [(one["top10_a_second"]["1"], one["perplexity"]) for one in table],
        marks=True,
        labels=[one["title"] for one in table],
    )
    return {
        "g": plot("Time of a product (B x d) by (d x k)", "k B", "ms", series, log_x=True, log_y=True),
        "clusters": plot(
            "Predicted time of a training step's output layer",
            "tail clusters",
            "ms",
            [Series("best cutoffs", plans), Series("", plans, marks=True)],
            color_of=[0, 0],
        ),
        "serving": plot(
            "Perplexity against serving speed (labels: tail clusters)",
            "exact top-10 a second, one row at a time",
            "perplexity",
            [speed, others],
            log_x=True,
        ),
    }
