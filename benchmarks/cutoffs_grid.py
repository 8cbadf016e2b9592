"""Are the planner's cutoffs the fastest? ``python -m benchmarks.cutoffs_grid CORPUS``.

Measures a training step of the output layer (forwards, backwards, optimizer) for every pair of edges of a
grid and for the planner's choice, in turn over several rounds, on targets drawn by word frequency.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks.serving.machine import machine
from models.adaptive_softmax import AdaptiveSoftmax
from models.config import LSTMConfig, ModelConfig
from models.training.corpus import text_files, word_counts
from models.training.cutoffs import Widths, words_of_share
from models.training.memory import keep_memory
from models.training.planning import bands_of, training_plans


def step(cutoffs: tuple[int, ...], widths: Widths, targets: torch.Tensor) -> Callable[[int], float]:
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


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--vocabulary-size", type=int, default=44_000)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    counts = word_counts(text_files(args.corpus), args.vocabulary_size)
    widths, device = Widths(args.hidden_size), torch.device("cpu")
    least = words_of_share(counts, 0.8)
    plan = training_plans(counts, widths, args.batch, device, "float32", [2], least, seconds=2.0).best
    random = np.random.default_rng(1)
    draws = random.choice(len(counts), (args.rounds + 1, args.batch), p=counts / counts.sum())
    targets = torch.from_numpy(draws)
    edges = np.geomspace(least, args.vocabulary_size, args.points + 1).round().astype(int)[:-1].tolist()
    choices = [(*pair, args.vocabulary_size) for pair in combinations(edges, 2)]
    runs = {cutoffs: step(cutoffs, widths, targets) for cutoffs in (plan.cutoffs, *choices)}
    times: dict[tuple[int, ...], list[float]] = {cutoffs: [] for cutoffs in runs}
    for run in runs.values():  # the first is not counted
        run(0)
    for turn in range(args.rounds):
        order = list(runs.items())
        random.shuffle(order)  # what ran before leaves the caches in another state
        for cutoffs, run in order:
            times[cutoffs].append(run(turn + 1))
    medians = {cutoffs: median(values) * 1e3 for cutoffs, values in times.items()}
    best = min(choices, key=lambda cutoffs: medians[cutoffs])
    result = {
        "machine": {**machine(), "threads": args.threads},
        "chosen": plan.cutoffs,
        "chosen_ms": round(medians[plan.cutoffs], 2),
        "predicted_ms": round(plan.seconds * 1e3, 2),
        "best_of_grid": best,
        "best_ms": round(medians[best], 2),
        "worst_ms": round(max(medians.values()), 2),
        "chosen_to_best": round(medians[plan.cutoffs] / medians[best], 3),
        "grid": [[list(cutoffs), round(ms, 2)] for cutoffs, ms in medians.items()],
    }
    name = f"cutoffs-grid-{datetime.now(UTC).date().isoformat()}.json"
    (args.out / name).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "grid"}))


if __name__ == "__main__":
    main()
