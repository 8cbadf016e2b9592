"""Does the cost of an exact answer grow with the vocabulary? ``python -m benchmarks.growth CORPUS``.

Takes a trained model's distributions on held-out lines of a text and gives them other vocabularies:

- a smaller one: the words beyond are cut off, the rest is scaled to one;
- a larger one: word frequencies beyond the model's last rank go on as the power law that the text's counts
  follow over the last nine tenths of the ranks; each row's probabilities do so from that row's own mass in
  the second half of its vocabulary (a context that calls for rare words calls for the rarer ones too), and
  all are scaled to one.

The planner then chooses clusters for each size, and the output layer so planned is built with random words
and timed: its cluster logits are set so that each row opens the clusters that its distribution says.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.serving.machine import machine
from models.benchmarking.charts import Series, plot
from models.bundle import DEFAULT, Bundle
from models.config.bodies import LSTMConfig
from models.config.model import ModelConfig
from models.kernels.choice import choose
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.clusters.cutoffs import Plan, Widths, candidates
from models.training.clusters.planning import MANY, bands_of, masses_of, sample_lines, serving_plans
from models.training.clusters.serving_costs import Masses
from models.training.clusters.timing import Array
from models.training.corpus import text_files, word_counts

K = 10
NUMBERS = (*MANY, 300, 400, 600, 800)
TIMED = 64


def exponent(counts: Array) -> float:
    """s of counts ~ rank^-s, by least squares over logarithms of ranks, from a tenth of the ranks on."""
    ranks = np.unique(np.geomspace(len(counts) // 10, len(counts) - 1, 200).astype(np.int64))
    slope, _ = np.polyfit(np.log(ranks + 1.0), np.log(counts[ranks]), 1)
    return float(-slope)


def stretched(rows: Masses, size: int, s: float) -> Masses:
    """`rows` for a vocabulary of `size` words: an edge of the grid, or more than the model has."""
    known = int(rows.grid[-1])
    if size <= known:
        inside = rows.grid <= size
        total = rows.below[:, inside][:, -1:]
        grid, below = rows.grid[inside], rows.below[:, inside] / total
    else:
        half = rows.below[:, [int(np.searchsorted(rows.grid, known // 2))]]
        second = rows.below[:, -1:] - half  # mass of the ranks known / 2 to known
        more = np.unique(np.geomspace(known, size, 80).round().astype(np.int64))[1:]

        def share(low: int, high: Array) -> Array:
            return np.asarray((high ** (1 - s) - low ** (1 - s)) / (1 - s))

        further = share(known, more.astype(np.float64)) / share(known // 2, np.array([float(known)]))
        below = np.concatenate([rows.below, rows.below[:, -1:] + second * further], 1)
        total = below[:, -1:]
        grid, below = np.concatenate([rows.grid, more]), below / total
    return Masses(grid, below, {k: kth / total[:, 0] for k, kth in rows.kth.items()})


def opened_by(rows: Masses, plan: Plan) -> npt.NDArray[np.bool_]:
    """(N, clusters): which rows open which clusters of the plan."""
    at = np.searchsorted(rows.grid, plan.cutoffs)
    mass = np.diff(rows.below[:, at], axis=1)
    return np.asarray(mass >= rows.kth[K][:, None])


@torch.inference_mode()
def measured(plan: Plan, widths: Widths, opened: Any, device: torch.device) -> float:
    """Median milliseconds of an exact top-10 of one row, over rows that open what `opened` says."""
    config = ModelConfig(
        vocabulary_size=plan.cutoffs[-1],
        hidden_size=widths.hidden_size,
        cutoffs=plan.cutoffs,
        bands=bands_of(plan.cutoffs, widths),
        body=LSTMConfig(layers=1, units=1),
    )
    torch.manual_seed(1)
    layer = AdaptiveSoftmax(config).requires_grad_(False)
    hidden = torch.randn(len(opened), widths.hidden_size)
    best = (hidden @ layer.head[: layer.shortlist].T).amax(1, keepdim=True)
    wanted = torch.where(torch.from_numpy(opened), best, best - 60)
    layer.head[layer.shortlist :] = torch.linalg.lstsq(hidden, wanted).solution.T
    for weight in layer.parameters():  # as in bundles
        weight.copy_(weight.half())
    kernel = choose(layer.to(device), device).exact
    rows = hidden.to(device)
    found = kernel.topk(rows, K).expanded.cpu().numpy()
    if (found != opened).mean() > 0.001:
        raise RuntimeError(f"{(found != opened).sum()} clusters opened that should not, or the reverse")
    times = []
    for _ in range(5):
        for row in rows[:, None]:
            start = perf_counter()
            kernel.topk(row, K).ids.cpu()
            times.append((perf_counter() - start) * 1e3)
    return median(times)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--sizes", default="50000,100000,200000,500000,1000000")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--shortlist", type=int, default=2000, help="words of the head, at least")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bundle = Bundle.load(args.model, "cpu")
    sizes = [int(size) for size in args.sizes.split(",")]
    known, files = bundle.config.vocabulary_size, text_files(args.corpus)
    widest = bundle.config.band_edges[1]
    grid = candidates(known, 200, args.shortlist, [widest, known // 2, *sizes])
    lines = sample_lines(bundle, files, args.rows)
    rows = masses_of(bundle, lines, args.rows, [K], grid)
    s = exponent(word_counts(files, known)[2:].astype(np.float64))
    results = []
    for size in sizes:
        here = stretched(rows, size, s)
        (wide, _), *rest = ((band.width, 0) for band in bundle.config.bands)
        narrow = rest[0][0] if rest else wide
        widths = Widths(bundle.config.hidden_size, bands=((wide, widest), (narrow, size)))
        found = serving_plans(here, K, widths, bundle.device, NUMBERS)
        plan = min(found.plans, key=lambda one: one.seconds)
        opened = opened_by(here, plan)
        words = plan.cutoffs[0] + plan.clusters + (opened * np.diff(plan.cutoffs)).sum(1).mean()
        results.append(
            {
                "vocabulary": size,
                "clusters": plan.clusters,
                "shortlist": plan.cutoffs[0],
                "mass_beyond_the_model": round(float(1 - here.below[:, _place(here, known)].mean()), 4),
                "words_scored": round(float(words)),
                "predicted_ms": round(plan.seconds * 1e3, 4),
                "measured_ms": round(measured(plan, widths, opened[:TIMED], bundle.device), 4),
                "cutoffs": plan.cutoffs,
            }
        )
        print(json.dumps({key: value for key, value in results[-1].items() if key != "cutoffs"}), flush=True)
    first = results[0]
    report = {
        "machine": {**machine(), "threads": args.threads},
        "zipf_exponent": round(s, 3),
        "rows": args.rows,
        "growth_predicted": round(results[-1]["predicted_ms"] / first["predicted_ms"], 2),
        "growth_measured": round(results[-1]["measured_ms"] / first["measured_ms"], 2),
        "sizes": results,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"growth-{datetime.now(UTC).date().isoformat()}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    series = [
        Series(name, [(float(one["vocabulary"]), one[key]) for one in results], marks=marks)
        for name, key, marks in (
            ("predicted", "predicted_ms", False),
            ("measured", "measured_ms", True),
        )
    ]
    title = "An exact top-10 of one row, clusters planned for each vocabulary"
    stem.with_suffix(".svg").write_text(plot(title, "vocabulary", "ms", series, log_x=True))
    print(json.dumps({key: report[key] for key in ("growth_predicted", "growth_measured", "zipf_exponent")}))


def _place(rows: Masses, known: int) -> int:
    return min(int(np.searchsorted(rows.grid, known)), len(rows.grid) - 1)


if __name__ == "__main__":
    main()
