"""Two large tail clusters against many small ones: ``python -m benchmarks.many_clusters CORPUS``.

The same LSTM is trained on the same words with output layers that differ in nothing but the head's size and
how the tail is cut into clusters, with several seeds, in the small setting of `benchmarks.paper`. The models'
perplexity, by frequency band too (beside that of the words' frequencies alone, to see whether rare words were
learned at all), and the words that an exact top-k scores go into ``benchmarks/results/shapes-DATE.json`` and
``.md``. No times are reported: it may run beside other work. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.paper.methods import CURVE, SHAPED, SMALL, TABLE, Method, Setting
from benchmarks.paper.runs import Runs
from benchmarks.serving.machine import machine
from models.training.corpus import CorpusOptions, prepare, text_files
from models.training.memory import keep_memory

BASE = "adaptive-two"
SHAPES: tuple[Method, ...] = (
    SHAPED[0],
    *(method for method in (*TABLE, *CURVE) if method.key.startswith("adaptive")),
    *SHAPED[1:],
)
"""The two large clusters first."""

Found = dict[str, list[dict[str, Any]]]


def spread(values: Sequence[float]) -> str:
    """Mean and, of several, the standard deviation."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def markdown(facts: dict[str, Any], setting: Setting, found: Found) -> str:
    """The report; `found` holds the results of all seeds of each shape."""
    first = found[BASE][0]
    parts = [
        ["# How many clusters, how large a head"],
        [", ".join(f"{key} {value}" for key, value in facts.items())],
        [
            f"LSTM of {setting.units} units, hidden size {setting.hidden_size}, vocabulary"
            f" {setting.vocabulary_size:,}; {first['words_seen']:,} words seen by each, {first['words']:,}"
            " held out; mean and standard deviation over seeds. Words scored and rows that open a cluster: of"
            " an exact top-10 (k = 1: of a top-1)."
        ],
        table(found),
        ["Perplexity by frequency rank:"],
        by_rank(found),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def table(found: Found) -> list[str]:
    """Quality and cost of each shape."""
    base = found[BASE]
    words = mean(one["top10"]["words_scored"] for one in base)
    lines = [
        "| head | clusters | seeds | perplexity | to two large | rows that open one, k = 1 / 10 |"
        " words scored | fewer than two large |",
        "|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for key, runs in found.items():
        perplexities = [one["perplexity"] for one in runs]
        # The same seeds of the two large ones: a seed is lucky for all or for none.
        same = mean(one["perplexity"] for one in base[: len(runs)])
        scored = mean(one["top10"]["words_scored"] for one in runs)
        opened = " / ".join(
            f"{mean(one[top]['rows_that_open'] for one in runs):.0%}" for top in ("top1", "top10")
        )
        lines.append(
            f"| {runs[0]['cutoffs'][0]:,} | {kind(key, runs[0])} | {len(runs)} | {spread(perplexities)} |"
            f" {mean(perplexities) / same - 1:+.1%} | {opened} | {scored:,.0f} | {words / scored:.1f}x |"
        )
    return lines


def by_rank(found: Found) -> list[str]:
    """Mean perplexity by frequency band."""
    bands = found[BASE][0]["bands"]
    heads = [f"{band['ranks'][0]:,} to {band['ranks'][1]:,}" for band in bands]
    lines = [f"| head | clusters | {' | '.join(heads)} |", "|---:|---:|" + "---:|" * len(heads)]
    for key, runs in found.items():
        cells = [
            f"{mean(one['bands'][band]['perplexity'] for one in runs):,.0f}" for band in range(len(heads))
        ]
        lines.append(f"| {runs[0]['cutoffs'][0]:,} | {kind(key, runs[0])} | {' | '.join(cells)} |")
    cells = [f"{band['unigram']:,.0f}" for band in bands]
    return [*lines, f"| | frequencies alone | {' | '.join(cells)} |"]


def kind(key: str, result: dict[str, Any]) -> str:
    """The clusters of a run, in words where they do not share two bands."""
    named = {
        BASE: " large",
        "adaptive-two-2000": " large",
        "adaptive": ", planned",
        "adaptive-planned-4": ", planned",
    }
    return f"{result['clusters']}{named.get(key, ', one band wide' if key.endswith('-wide') else '')}"


def main() -> None:
    """Train what is missing, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--steps", type=int, help="other than the setting's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="METHOD,...: some of the shapes, the two large clusters among them")
    parser.add_argument("--done", action="store_true", help="train nothing: report what is done")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    setting = SMALL
    if args.steps:
        setting = replace(setting, options=replace(setting.options, steps=args.steps))
    corpus = prepare(
        text_files(args.corpus),
        args.work / f"corpus-{setting.vocabulary_size}",
        CorpusOptions(setting.vocabulary_size),
    )

    def on_step(what: str, done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"{what} {done} of {total}", flush=True)

    work = args.work / f"{setting.name}-{setting.options.steps}"
    runs = Runs(setting, corpus, work, torch.device("cpu"), on_step)
    wanted = args.only.split(",") if args.only else [method.key for method in SHAPES]
    shapes = [method for method in SHAPES if method.key in wanted]
    found: Found = {}
    for seed in range(1, args.seeds + 1):
        for method in shapes:
            if not args.done or runs.is_done(method, seed):
                found.setdefault(method.key, []).append(runs.method(method, seed))
    if BASE not in found:
        parser.error(f"{BASE} is what the others are compared with: name it, or let it be trained")
    found = {method.key: found[method.key] for method in shapes if method.key in found}
    facts = {**machine(), "threads": args.threads}
    stem = args.out / f"shapes-{datetime.now(UTC).date().isoformat()}"
    stem.with_suffix(".json").write_text(json.dumps({"machine": facts, "runs": found}, indent=1) + "\n")
    text = markdown(facts, setting, found)
    stem.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
