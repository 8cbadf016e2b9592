"""Rows of the top-k table: ours in both modes beside every baseline, for each batch, k and expansion.

For one batch size and k all candidates take turns (see `models.benchmarking.turns`): ours and composites on
rows of each expansion, the baselines whose time does not depend on that once. Each turn takes other rows.
What is answered is compared with brute force in float64 on the first rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor

from models.benchmarking.baselines import Run
from models.benchmarking.machine import Ceilings
from models.benchmarking.roofline import work
from models.benchmarking.shapes import Expansion
from models.benchmarking.subject import COMPOSITES, Runs, Subject
from models.benchmarking.truth import is_top, largest_error, true_logprobs
from models.benchmarking.turns import Times, alone, take_turns

CHECKED: Final = 8
"""Rows that are compared with brute force."""
EXACT_ERROR: Final = 1e-4
"""Nats by which a log-probability may be off that counts as exact, as ours in that mode."""
MODES: Final = ("exact", "fast")
ALONE_SECONDS: Final = 0.1
"""For runs of ours in a row."""


@dataclass(frozen=True, slots=True)
class MeasurementPlan:
    """What to measure of a shape.

    Attributes:
        seconds: for the turns of one batch size and k.
        compiles: whether the compiled baselines are measured.
        level: the instruction set of ours; by default the best of this processor.
    """

    batches: Sequence[int]
    ks: Sequence[int]
    seconds: float
    compiles: bool = False
    level: str = ""


@torch.no_grad()
def topk_rows(
    subject: Subject, plan: MeasurementPlan, ceilings: Ceilings, on_step: Callable[[str, float], None]
) -> Iterator[dict[str, Any]]:
    """A row for each batch, k, expansion and mode.

    Args:
        on_step: is told the present step, and the share of the shape that is done.
    """
    steps = [(batch, k) for batch in plan.batches for k in plan.ks]
    for index, (batch, k) in enumerate(steps):

        def tell(what: str, share: float, index: int = index, batch: int = batch, k: int = k) -> None:
            on_step(f"{subject.name}, {batch} rows, k = {k}: {what}", (index + share) / len(steps))

        tell("rows", 0.0)
        pools = {expansion: subject.rows(expansion, k, batch) for expansion in subject.expansions}
        example = pools["measured"][:batch]
        tell("baselines", 0.0)
        runs = subject.runs(example, k, plan.compiles)
        times = take_turns(_candidates(runs, pools, batch, k), plan.seconds, partial(tell, "taking turns"))
        for expansion, pool in pools.items():
            facts = _Facts.of(subject, pool, k)
            right = _right_ones(runs, facts, k)
            for mode in MODES:
                yield {
                    "shape": subject.name,
                    "batch": batch,
                    "k": k,
                    "mode": mode,
                    "expansion": expansion,
                    **_times(times, expansion, mode, *right),
                    **_opening(subject, facts),
                    **_roofline(subject, facts, (batch, k), mode, times[f"{mode} {expansion}"], ceilings),
                    **_errors(subject, facts, k, mode),
                }


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of the rows of one expansion, the clusters opened for each (N, clusters), and the true
    log-probabilities of the first `CHECKED`."""

    pool: Tensor
    opened: Tensor
    truth: Tensor

    @classmethod
    def of(cls, subject: Subject, pool: Tensor, k: int) -> _Facts:
        truth = true_logprobs(subject.softmax, pool[:CHECKED])
        return cls(pool, subject.exact.topk(pool, k).expanded, truth)


def _candidates(
    runs: Runs, pools: dict[Expansion, Tensor], batch: int, k: int
) -> dict[str, Callable[[int], object]]:
    def on(pool: Tensor, run: Run) -> Callable[[int], object]:
        starts = len(pool) // batch
        return lambda turn: run(pool[turn % starts * batch :][:batch], k)

    searches = {
        f"{name} {expansion}": on(pool, run)
        for expansion, pool in pools.items()
        for name, run in runs.searches.items()
    }
    return searches | {name: on(pools["measured"], run) for name, run in runs.others.items()}


def _times(
    times: dict[str, Times], expansion: Expansion, mode: str, words: Sequence[str], numbers: Sequence[str]
) -> dict[str, Any]:
    """Medians of ours and of each baseline, and the ratios.

    Among them ``best_torch``, the fastest that answers as exactly as this mode of ours (`numbers`, for the
    fast mode `words`), and ``best_torch_words``, the fastest of `words`.
    """
    ours = times[f"{mode} {expansion}"]
    baselines: dict[str, float] = {}
    for name, found in times.items():
        base, _, of = name.partition(" ")
        if base not in MODES and of in ("", expansion):
            baselines[base] = found.median_ms
    right = words if mode == "fast" else numbers
    best = min(right, key=lambda name: baselines[name])
    baselines["best_torch_words"] = min(baselines[name] for name in words)
    baselines["best_torch"] = baselines[best]
    return {
        "ours_ms": round(ours.median_ms, 4),
        "ours_mean_ms": round(ours.mean_ms, 4),
        "baselines_ms": {name: round(value, 4) for name, value in baselines.items()},
        "ratios": {name: round(value / ours.median_ms, 2) for name, value in baselines.items()},
        "best_torch_is": best,
        "turns": len(ours.seconds),
    }


def _right_ones(runs: Runs, facts: _Facts, k: int) -> tuple[list[str], list[str]]:
    """The baselines whose words are those of brute force, and those of them whose log-probabilities are too.

    A compiled one answers as its eager twin does.
    """
    excluded = torch.zeros(facts.truth.shape[1], dtype=torch.bool)  # torch excludes no words
    words, numbers = ["adaptive_log_prob_topk_fp32"], ["adaptive_log_prob_topk_fp32"]
    for name in COMPOSITES:
        if name in runs.searches:
            run = runs.searches[name.removesuffix("_compiled")]
            logprobs, ids = cast("tuple[Tensor, Tensor]", run(facts.pool[:CHECKED], k))
            if is_top(facts.truth, excluded, ids):
                words.append(name)
                if largest_error(facts.truth, ids, logprobs) <= EXACT_ERROR:
                    numbers.append(name)
    return words, numbers


def _opening(subject: Subject, facts: _Facts) -> dict[str, Any]:
    """The expansion rate of all rows."""
    opened = facts.opened.double()
    sizes = torch.tensor(subject.softmax.cluster_sizes, dtype=torch.float64)
    scored = len(subject.softmax.head) + float((opened @ sizes).mean())
    return {
        "rows_that_open": round(float(facts.opened.any(1).double().mean()), 4),
        "clusters_opened": round(float(opened.sum(1).mean()), 3),
        "words_scored": round(scored / subject.softmax.cutoffs[-1], 4),
    }


def _roofline(
    subject: Subject, facts: _Facts, size: tuple[int, int], mode: str, times: Times, ceilings: Ceilings
) -> dict[str, Any]:
    """Bytes, bytes a second, the share of the roofline; means over the batches of all rows."""
    batch, k = size
    kernel = subject.fast if mode == "fast" else subject.exact
    starts = len(facts.pool) // batch
    batches = torch.split(facts.opened[: starts * batch], batch)
    needs = [work(kernel, subject.softmax, part) for part in batches]
    roofs, bounds = zip(*(need.seconds(ceilings) for need in needs), strict=True)
    bound = max(set(bounds), key=bounds.count)
    warm = alone(lambda turn: kernel.topk(facts.pool[turn % starts * batch :][:batch], k), ALONE_SECONDS)
    # What fits the cache is there when calls follow each other, and is not after a full softmax.
    taken = warm.mean_ms if bound == "cache" else times.mean_ms
    nbytes = sum(need.nbytes for need in needs) / len(needs)
    return {
        "ours_in_a_row_ms": round(warm.median_ms, 4),
        "bytes": round(nbytes),
        "gb_per_second": round(nbytes / taken / 1e6, 2),
        "bound": bound,
        "share_of_roofline": round(sum(roofs) / len(roofs) * 1e3 / taken, 6),
    }


def _errors(subject: Subject, facts: _Facts, k: int, mode: str) -> dict[str, Any]:
    """Against brute force; for the fast mode the bound that it returned, too."""
    kernel = subject.fast if mode == "fast" else subject.exact
    found, bound = kernel.topk_bounded(facts.pool[:CHECKED], k)
    result = {
        "ids_exact": is_top(facts.truth, subject.softmax.excluded, found.ids),
        "max_logprob_error": float(f"{largest_error(facts.truth, found.ids, found.logprobs):.3g}"),
    }
    return result | ({"logprob_error": float(f"{float(bound.max()):.3g}")} if mode == "fast" else {})
