"""Would other clusters serve the default model better? ``python -m benchmarks.default_clusters CORPUS``.

Makes reclustered copies of it with ``headfirst recluster`` and compares them on the lines that its training
held out: perplexity, what an exact top-k scores, the time of the search alone, and the engine's time for a
whole prediction. Writes ``default-clusters-DATE.json`` and ``.md``; copies that are there are not made again.

Times are CPU time of the thread that works, so that other programs disturb them little; candidates take
turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.measures import rows_of, scored
from benchmarks.serving.machine import ROOT, digest
from benchmarks.serving.texts import Texts
from models.benchmarking.machine import machine
from models.bundle import DEFAULT, Bundle
from models.config.model import ModelConfig
from models.training.corpus import CorpusOptions, Tokens, is_held_out, lines, text_files
from models.training.evaluation import evaluate
from service.contract.messages import Predict
from service.engine.runner import Runner
from service.engine.state_cache import StateCache
from service.engine.work import Group, Job, Node, Slice
from service.fleet.memory import settle
from service.metrics.registry import STAGES, Metrics

SHIPPED = "as shipped"
BATCHES = 1, 16, 64
KS = 1, 10, 100
PREDICTIONS = 256
"""Of one turn."""
PERPLEXITY, ENGINE_TIME = 0.005, 0.05
"""The rule: a model is worth shipping if its perplexity is at most so much higher, and the engine's time of a
prediction so much lower, at 16 or at 64 rows."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a copy is made.

    Attributes:
        name: its own, in tables.
        clusters: their number, cut where the planner says; 0: see `pieces`.
        pieces: what each cluster of the last band is cut into.
        steps: of training all weights afterwards.
    """

    name: str
    clusters: int = 0
    pieces: int = 1
    steps: int = 0


VARIANTS = (
    Variant("128", 128),
    Variant("200", 200),
    Variant("200, trained further", 200, steps=400),
    Variant("154, the rare cut in four", pieces=4),
)

Timed = Callable[[int], dict[str, float]]
"""Runs one turn, by its number; microseconds a row, by what they were spent on."""


def make(variant: Variant, model: Path, corpus: Path, rows: int, work: Path) -> Path:
    """The bundle of a copy: made, or as it is."""
    out = work / variant.name.replace(", ", "-").replace(" ", "-")
    if (out / "config.json").exists():
        return out
    edges = cut_rare(Bundle.load(model, "cpu").config, variant.pieces)
    clusters = f"--clusters={variant.clusters}" if variant.clusters else f"--cutoffs={edges}"
    # Copies with the same clusters share the fit of the head's rows.
    fit = work / f"fit-{variant.clusters or f'pieces-{variant.pieces}'}"
    command = [sys.executable, "-m", "service.cli", "recluster", str(model), str(out), clusters]
    command += [f"--text={corpus}", f"--rows={rows}", f"--fine-tune={variant.steps}", f"--work={fit}"]
    subprocess.run([*command, f"--threads={torch.get_num_threads()}"], check=True, cwd=ROOT)
    return out


def cut_rare(config: ModelConfig, pieces: int) -> str:
    """Edges, as the command takes them, with each cluster of the last band cut into equal pieces."""
    first = config.cutoffs.index(config.band_edges[-2])
    rare = pairwise(config.cutoffs[first:])
    cuts = [round(low + (high - low) * i / pieces) for low, high in rare for i in range(1, pieces + 1)]
    return ",".join(map(str, [*config.cutoffs[: first + 1], *cuts]))


def held_out(bundle: Bundle, corpus: Path) -> list[Tokens]:
    """The lines that training leaves out, each with its ``</s>``."""
    vocabulary, every = bundle.vocabulary, CorpusOptions(1).holdout_every
    texts = [
        line for file in text_files(corpus) for i, line in enumerate(lines(file)) if is_held_out(i, every)
    ]
    return [np.array([*ids, vocabulary.end_id], np.uint32) for ids in vocabulary.encode_batch(texts)]


class Search:
    """Exact top-10 searches of `batch` rows each, the output layer alone."""

    def __init__(self, bundle: Bundle, rows: torch.Tensor, batch: int) -> None:
        self._model, self._rows, self._batch = bundle.model, rows, batch

    def __call__(self, turn: int) -> dict[str, float]:
        """See `Timed`."""
        begin = turn * PREDICTIONS % (len(self._rows) - PREDICTIONS + 1)
        parts = torch.split(self._rows[begin : begin + PREDICTIONS], self._batch)
        self._model.topk(parts[-1], 10)  # the candidate before has left other weights in the caches
        started = time.thread_time()
        for part in parts:
            self._model.topk(part, 10)
        return {"search": (time.thread_time() - started) / PREDICTIONS * 1e6}


class Serving:
    """Predictions as the engine runs them, `batch` at once, none a continuation of another."""

    def __init__(self, bundle: Bundle, batch: int) -> None:
        self._encode, self._batch, self._texts = bundle.vocabulary.encode_batch, batch, Texts()
        self._metrics = Metrics(bundle.config.n_clusters)
        self._runner = Runner(bundle, StateCache(64 << 20), self._metrics, time.thread_time)

    def __call__(self, turn: int) -> dict[str, float]:
        """See `Timed`."""
        begin = turn * (PREDICTIONS + self._batch)
        found = self._encode([self._texts[begin + i] for i in range(PREDICTIONS + self._batch)])
        self._step(found[: self._batch])
        before = self._spent()
        for at in range(self._batch, len(found), self._batch):
            self._step(found[at : at + self._batch])
        return {stage: (spent - before[stage]) / PREDICTIONS * 1e6 for stage, spent in self._spent().items()}

    def _step(self, contexts: list[list[int]]) -> None:
        slices = []
        for tokens in map(tuple, contexts):
            job = Job(Predict("", tokens, 10, None, None), Group(), time.thread_time())
            node = Node(tokens, len(tokens), len(tokens), [job], [job])
            self._runner.begin(node)
            slices.append(Slice(node, node.inputs - node.position))
        if len(self._runner.answer(slices).answers) != len(contexts):
            raise RuntimeError("not every prediction was answered")

    def _spent(self) -> dict[str, float]:
        value = self._metrics.registry.get_sample_value
        name = "headfirst_step_duration_seconds_sum"
        return {stage: value(name, {"stage": stage}) or 0.0 for stage in STAGES}


def in_turn(candidates: Mapping[str, Timed], seconds: float) -> dict[str, dict[str, float]]:
    """Median microseconds a row of each candidate, over turns in rotating order."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    names, turn, started = list(candidates), 0, time.perf_counter()
    while turn < 4 or time.perf_counter() - started < seconds:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            turns[name].append(candidates[name](turn))
        turn += 1
    return {
        name: {
            "total": round(median(sum(one.values()) for one in found), 2),
            **{what: round(median(one[what] for one in found), 2) for what in found[0] if len(found[0]) > 1},
        }
        for name, found in turns.items()
    }


def quality(bundle: Bundle, heldout: list[Tokens], rows: torch.Tensor) -> dict[str, Any]:
    """Perplexity, and what exact searches score."""
    found = evaluate(bundle.model, heldout, bundle.vocabulary.end_id, bundle.vocabulary.unknown_id)
    return {
        "clusters": bundle.config.n_clusters,
        "cutoffs": bundle.config.cutoffs,
        "heldout_words": found.words,
        "perplexity": round(found.perplexity, 3),
        **{f"top{k}": scored(bundle.model, rows, k) for k in KS},
    }


def judge(one: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """By the rule: changes from `base`, and whether to ship `one` in its place."""
    quality = one["perplexity"] / base["perplexity"] - 1
    engine = {str(b): one["engine"][str(b)]["total"] / base["engine"][str(b)]["total"] - 1 for b in BATCHES}
    better = quality <= PERPLEXITY and min(engine["16"], engine["64"]) <= -ENGINE_TIME
    return {
        "perplexity": round(quality, 4),
        "engine": {b: round(x, 4) for b, x in engine.items()},
        "replace": better,
    }


def table(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """What was found, the shipped model first."""
    base = results[SHIPPED]
    lines = [
        "| clusters | perplexity | words scored, k = 1 / 10 / 100 | rows that open one |"
        " search, us a row at 1 / 16 / 64 | whole prediction, engine's us | of it the search | change |",
        "|---|---:|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        engine = [one["engine"][str(b)] for b in BATCHES]
        change = judge(one, base)["engine"].values()
        title = f"{one['clusters']}, {name}" if name == SHIPPED else name
        lines.append(
            f"| {title} | {one['perplexity']:.2f} |"
            f" {' / '.join(format(one[f'top{k}']['words_scored'], ',.0f') for k in KS)} |"
            f" {' / '.join(format(one[f'top{k}']['rows_that_open'], '.1%') for k in KS)} |"
            f" {' / '.join(format(one['search'][str(b)], '.1f') for b in BATCHES)} |"
            f" {' / '.join(format(x['total'], '.0f') for x in engine)} |"
            f" {' / '.join(format(x['topk'] / x['total'], '.0%') for x in engine)} |"
            f" {'' if name == SHIPPED else ' / '.join(format(x, '+.1%') for x in change)} |"
        )
    return lines


def verdict(results: Mapping[str, dict[str, Any]]) -> str:
    """Which of them the rule would ship."""
    better = [name for name, one in results.items() if judge(one, results[SHIPPED])["replace"]]
    return (
        f"Worth shipping in its place (perplexity at most {PERPLEXITY:.1%} higher, and {ENGINE_TIME:.0%} less"
        f" engine time of a prediction at 16 or 64 rows): {'; '.join(better) or 'none'}."
    )


def markdown(facts: Mapping[str, Any], results: Mapping[str, dict[str, Any]]) -> str:
    """The report."""
    parts = [
        "# The default model with other clusters",
        ", ".join(f"{key} {value}" for key, value in facts.items()),
        f"Perplexity: {results[SHIPPED]['heldout_words']:,} words held out. Times: CPU microseconds a row,"
        " one thread, medians of turns.",
        "\n".join(table(results)),
        verdict(results),
    ]
    return "\n\n".join(parts) + "\n"


@torch.inference_mode()
def main() -> None:
    """Make what is missing, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--rows", type=int, default=100_000, help="positions of the text to fit on")
    parser.add_argument("--searched", type=int, default=8192, help="held-out rows that are searched")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each of six measurements in turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/default-clusters"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    model, corpus, work = (path.resolve() for path in (args.model, args.corpus, args.work))
    copies = {one.name: make(one, model, corpus, args.rows, work) for one in VARIANTS}
    bundles = {name: Bundle.load(path, "cpu") for name, path in {SHIPPED: model, **copies}.items()}
    heldout = held_out(bundles[SHIPPED], corpus)
    results: dict[str, dict[str, Any]] = {}
    rows = {}
    for name, bundle in bundles.items():
        rows[name] = rows_of(bundle.model, heldout, bundle.vocabulary.end_id, args.searched)
        results[name] = {**quality(bundle, heldout, rows[name]), "search": {}, "engine": {}}
        print(name, results[name]["perplexity"], flush=True)
    settle()
    for batch in BATCHES:
        searches = {name: Search(bundle, rows[name], batch) for name, bundle in bundles.items()}
        for name, times in in_turn(searches, args.seconds).items():
            results[name]["search"][str(batch)] = times["total"]
        served = {name: Serving(bundle, batch) for name, bundle in bundles.items()}
        for name, times in in_turn(served, args.seconds).items():
            results[name]["engine"][str(batch)] = times
    for one in results.values():
        one["change"] = judge(one, results[SHIPPED])
    fitted = {"rows_fitted": args.rows, "rows_searched": args.searched}
    facts = {**machine(), "model": digest(args.model), **fitted}
    stem = args.out / f"default-clusters-{facts['date'][:10]}"
    stem.with_suffix(".json").write_text(json.dumps({"machine": facts, "results": results}, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(facts, results))
    print(markdown(facts, results))


if __name__ == "__main__":
    main()
