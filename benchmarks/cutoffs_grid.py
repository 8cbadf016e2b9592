"""Are the planner's cutoffs the fastest? ``python -m benchmarks.cutoffs_grid CORPUS...``.

Measures a training step of the output layer (forwards, backwards, optimizer) for every pair of edges of a
grid and for the planner's choice, in turn over several rounds, on targets drawn by word frequency. The least
of many noisy times is too small by chance, and one that is measured once is not: so the fastest of the grid
are measured again beside the planner's choice, the best of them is the one that is fastest in the odd rounds,
and what is reported are medians over the even ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.serving.machine import machine
from models.config.bodies import LSTMConfig
from models.config.model import ModelConfig
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.clusters.cutoffs import Widths, words_of_share
from models.training.clusters.planning import bands_of, training_plans
from models.training.corpus import Counts, text_files, word_counts
from models.training.memory import keep_memory

Cutoffs = tuple[int, ...]
Step = Callable[[int], float]

FINALISTS = 6
DRAWS = 64
"""Batches of targets, taken in turn."""


def step(cutoffs: Cutoffs, widths: Widths, targets: torch.Tensor) -> Step:
    """Seconds of a step; its argument picks the targets."""
    config = ModelConfig(
        vocabulary_size=cutoffs[-1],
        hidden_size=widths.hidden_size,
        cutoffs=cutoffs,
        bands=bands_of(cutoffs, widths),
        body=LSTMConfig(layers=1, units=1),
    )
    layer = AdaptiveSoftmax(config)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    hidden = torch.randn(targets.shape[1], widths.hidden_size, requires_grad=True)

    def run(turn: int) -> float:
        start = perf_counter()
        torch.autograd.backward(-layer.target_logprobs(hidden, targets[turn % len(targets)], None).mean())
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return perf_counter() - start

    return run


def timed(runs: dict[Cutoffs, Step], rounds: int, random: np.random.Generator) -> dict[Cutoffs, list[float]]:
    """Seconds of each in each round, in changing order: what ran before leaves the caches another state."""
    times: dict[Cutoffs, list[float]] = {cutoffs: [] for cutoffs in runs}
    for run in runs.values():  # the first is not counted
        run(0)
    for turn in range(rounds):
        order = list(runs.items())
        random.shuffle(order)
        for cutoffs, run in order:
            times[cutoffs].append(run(turn))
    return times


def fastest(times: dict[Cutoffs, list[float]], among: Iterable[Cutoffs]) -> Cutoffs:
    """That with the least median."""
    return min(among, key=lambda cutoffs: median(times[cutoffs]))


def compare(counts: Counts, args: argparse.Namespace) -> dict[str, Any]:
    """The planner's choice for words with these `counts`, and the grid."""
    size, random = len(counts), np.random.default_rng(1)
    widths, device = Widths(args.hidden_size), torch.device("cpu")
    least = words_of_share(counts, 0.8)
    plan = training_plans(counts, widths, args.batch, device, "float32", [2], least, seconds=6.0).best
    draws = random.choice(size, (DRAWS, args.batch), p=counts / counts.sum())
    targets = torch.from_numpy(draws)
    edges = np.geomspace(least, size, args.points + 1).round().astype(int)[:-1].tolist()
    choices = [(*pair, size) for pair in combinations(edges, 2)]
    runs = {cutoffs: step(cutoffs, widths, targets) for cutoffs in (plan.cutoffs, *choices)}
    every = timed(runs, args.rounds, random)
    medians = {cutoffs: median(found) * 1e3 for cutoffs, found in every.items()}
    finalists = sorted(choices, key=medians.__getitem__)[:FINALISTS]
    again = timed({cutoffs: runs[cutoffs] for cutoffs in (plan.cutoffs, *finalists)}, args.finals, random)
    best = fastest({cutoffs: found[::2] for cutoffs, found in again.items()}, finalists)
    chosen_ms, best_ms = (median(again[cutoffs][1::2]) * 1e3 for cutoffs in (plan.cutoffs, best))
    screened = fastest(every, choices)
    return {
        "chosen": plan.cutoffs,
        "predicted_ms": round(plan.seconds * 1e3, 2),
        "chosen_ms": round(chosen_ms, 2),
        "best_of_grid": best,
        "best_ms": round(best_ms, 2),
        "chosen_to_best": round(chosen_ms / best_ms, 3),
        "chosen_to_least_of_the_first_rounds": round(medians[plan.cutoffs] / medians[screened], 3),
        "worst_ms": round(max(medians.values()), 2),
        "grid": [[list(cutoffs), round(ms, 2)] for cutoffs, ms in medians.items()],
        "finals": [[list(cutoffs), round(median(found) * 1e3, 2)] for cutoffs, found in again.items()],
    }


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, nargs="+", help="each is a comparison of its own")
    parser.add_argument("--vocabulary-size", type=int, default=44_000)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--finals", type=int, default=60, help="rounds of the fastest")
    parser.add_argument("--points", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    found = {}
    for corpus in args.corpus:
        counts = word_counts(text_files(corpus), args.vocabulary_size)
        found[corpus.name] = compare(counts, args)
        short = {key: value for key, value in found[corpus.name].items() if key not in ("grid", "finals")}
        print(corpus.name, json.dumps(short), flush=True)
    result = {"machine": {**machine(), "threads": args.threads}, "texts": found}
    name = f"cutoffs-grid-{datetime.now(UTC).date().isoformat()}.json"
    (args.out / name).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
