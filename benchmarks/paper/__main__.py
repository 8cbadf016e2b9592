"""The paper's table and more: ``python -m benchmarks.paper CORPUS``, or ``make paper CORPUS=...``.

Trains every output layer with the same LSTM on the same text, measures perplexity, time and the cost of exact
top-10 answers, and writes ``benchmarks/results/paper-DATE.json``, ``.md`` and ``-*.svg``. The small setting
takes about 20 minutes on 2 quiet cores. Stopped, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.paper.methods import CURVE, FULL, SMALL, TABLE
from benchmarks.paper.report import charts, markdown
from benchmarks.paper.runs import Runs
from benchmarks.serving.machine import machine
from models.bundle import resolve_device
from models.training.corpus import CorpusOptions, prepare, text_files
from models.training.memory import keep_memory


def main() -> None:
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--full", action="store_true", help="the setting for a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, help="fewer or more than the setting's")
    parser.add_argument("--only", help="METHOD,...: run these, write no report")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/paper"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    keep_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    setting = FULL if args.full else SMALL
    if args.steps:
        setting = replace(setting, options=replace(setting.options, steps=args.steps))
    device = resolve_device(args.device)
    work = args.work / f"{setting.name}-{setting.options.steps}"
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("reading the text", total=None)
        corpus = prepare(
            text_files(args.corpus),
            args.work / f"corpus-{setting.vocabulary_size}",
            CorpusOptions(setting.vocabulary_size),
            lambda n: bar.advance(task, n),
        )

        def on_step(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        runs = Runs(setting, corpus, work, device, on_step)
        wanted = args.only.split(",") if args.only else None
        results = {}
        for method in (*TABLE, *CURVE):
            if wanted is None or method.key in wanted:
                found = [runs.method(method, seed) for seed in range(1, args.seeds + 1)]
                results[method.key] = {**found[0], "perplexities": [one["perplexity"] for one in found]}
                for one in found:
                    console.print(f"{one['title']}: perplexity {one['perplexity']}, {one['seconds']} s")
        times = runs.times()
    if wanted is not None:
        return
    facts = {**machine(), "threads": torch.get_num_threads(), "device": str(device)}
    now = datetime.now(UTC).date().isoformat()
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"paper-{setting.name}-{now}" if args.full else args.out / f"paper-{now}"
    drawn = charts(times, results)
    text = markdown(facts, setting, times, results)
    text += "".join(f"\n![{name}]({stem.name}-{name}.svg)\n" for name in drawn)
    stem.with_name(stem.name + ".md").write_text(text)
    stem.with_name(stem.name + ".json").write_text(
        json.dumps({"machine": facts, "setting": setting.name, "times": times, "results": results}, indent=1)
        + "\n"
    )
    for name, svg in drawn.items():
        stem.with_name(f"{stem.name}-{name}.svg").write_text(svg)
    print(text)


if __name__ == "__main__":
    main()
