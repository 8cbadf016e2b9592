"""Rows of the scoring table: the log-probability of a given word after each hidden row.

Beside ours in both modes: torch's `AdaptiveLogSoftmaxWithLoss.forward` in float32, bfloat16 and compiled,
this project's reference, and a full softmax's cross-entropy in chunks of 256 rows, of which one is timed and
multiplied: all of them would take minutes.

The target words of synthetic rows are spread over the short-list and the clusters as the words of a text are:
by the clusters' shares of probability, see `models.benchmarking.openings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from models.benchmarking.baselines import CompileError, compiled
from models.benchmarking.machine import Ceilings
from models.benchmarking.roofline import work
from models.benchmarking.subject import Subject
from models.benchmarking.topk_table import CHECKED, MODES, MeasurementPlan
from models.benchmarking.truth import true_logprobs
from models.benchmarking.turns import Times, take_turns

CHUNK: Final = 256

Score = Callable[[Tensor, Tensor], object]
"""Hidden rows (N, d) and targets (N,)."""


@torch.no_grad()
def score_rows(
    subject: Subject, plan: MeasurementPlan, ceilings: Ceilings, on_step: Callable[[str, float], None]
) -> Iterator[dict[str, Any]]:
    """A row for each batch and mode; as `topk_rows`, but for `plan.ks`, which does not count."""
    for index, batch in enumerate(plan.batches):

        def tell(what: str, share: float, index: int = index, batch: int = batch) -> None:
            on_step(f"{subject.name}, scoring {batch} rows: {what}", (index + share) / len(plan.batches))

        tell("rows", 0.0)
        hidden, targets = subject.scored_rows(batch)
        tell("baselines", 0.0)
        calls = _calls(subject, hidden, targets, plan.compiles)
        times = take_turns(calls, plan.seconds, partial(tell, "taking turns"))
        for mode in MODES:
            yield {
                "shape": subject.name,
                "batch": batch,
                "mode": mode,
                **_times(times, mode, batch),
                **_roofline(subject, hidden, targets, mode, times[mode], ceilings),
                **_errors(subject, hidden, targets, mode),
            }


def _calls(
    subject: Subject, hidden: Tensor, targets: Tensor, compiles: bool
) -> dict[str, Callable[[int], object]]:
    half, full = hidden.bfloat16(), subject.full.weight
    module, narrow = subject.module, subject.module_bf16
    calls: dict[str, Callable[[int], object]] = {
        "exact": lambda turn: subject.exact.target_logprobs(hidden, targets),
        "fast": lambda turn: subject.fast.target_logprobs_bounded(hidden, targets),
        "module_forward_fp32": lambda turn: module(hidden, targets),
        "module_forward_bf16": lambda turn: narrow(half, targets),
        "reference_fp32": lambda turn: subject.softmax.target_logprobs(hidden, targets),
        "cross_entropy_chunked_fp32": lambda turn: F.cross_entropy(
            F.linear(hidden[:CHUNK], full), targets[:CHUNK], reduction="none"
        ),
    }
    if compiles and "module_forward_fp32_compiled" not in subject.skipped:
        try:
            run = compiled(lambda rows: module(rows, targets), hidden)
            calls["module_forward_fp32_compiled"] = lambda turn: run(hidden)
        except CompileError as error:
            subject.skipped["module_forward_fp32_compiled"] = str(error)
    return calls


def _times(times: dict[str, Times], mode: str, batch: int) -> dict[str, Any]:
    ours = times[mode].median_ms
    baselines = {name: found.median_ms for name, found in times.items() if name not in MODES}
    baselines["cross_entropy_chunked_fp32"] *= batch / min(CHUNK, batch)
    return {
        "ours_ms": round(ours, 4),
        "words_per_second": round(batch / ours * 1e3),
        "baselines_ms": {name: round(value, 4) for name, value in baselines.items()},
        "ratios": {name: round(value / ours, 2) for name, value in baselines.items()},
        "turns": len(times[mode].seconds),
    }


def _roofline(
    subject: Subject, hidden: Tensor, targets: Tensor, mode: str, times: Times, ceilings: Ceilings
) -> dict[str, Any]:
    edges = torch.tensor(subject.softmax.cutoffs[:-1])
    section = torch.bucketize(targets, edges, right=True)
    opened = F.one_hot(section, subject.softmax.n_clusters + 1)[:, 1:].bool()
    need = work(subject.fast if mode == "fast" else subject.exact, subject.softmax, opened, search=False)
    roof, bound = need.seconds(ceilings)
    return {
        "rows_that_open": round(float(opened.any(1).double().mean()), 4),
        "bytes": round(need.nbytes),
        "gflops": round((need.float32 + need.int8) / times.median_ms / 1e6, 1),
        "bound": bound,
        "share_of_roofline": round(roof * 1e3 / times.median_ms, 6),
    }


def _errors(subject: Subject, hidden: Tensor, targets: Tensor, mode: str) -> dict[str, Any]:
    truth = true_logprobs(subject.softmax, hidden[:CHECKED]).gather(1, targets[:CHECKED, None])[:, 0]
    kernel = subject.fast if mode == "fast" else subject.exact
    found, bound = kernel.target_logprobs_bounded(hidden[:CHECKED], targets[:CHECKED])
    result = {"max_logprob_error": float(f"{float((found - truth).abs().max()):.3g}")}
    return result | ({"logprob_error": float(f"{float(bound.max()):.3g}")} if mode == "fast" else {})
