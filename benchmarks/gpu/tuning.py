"""Where the time goes, and which block sizes would be faster: for `Tuning` and `ScoreTuning`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.gpu import shapes
from benchmarks.gpu.sections import Context, text
from models.benchmarking.shapes import SHAPES
from models.kernels.triton.buffers import Tuning
from models.kernels.triton.kernel import TritonKernel
from models.kernels.triton.scorer import ScoreTuning
from models.softmax.adaptive_softmax import AdaptiveSoftmax


def kernels_alone(context: Context) -> None:
    """Each kernel's own time, by the profiler, without graphs."""
    shape = (shapes.TINY if context.dry else SHAPES)["wt103"]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    kernel = TritonKernel(softmax, torch.bfloat16, graphs=False)
    if context.dry:
        return
    for n_rows in (1, 64, 1024, 8192):
        hidden, targets = text(context, shape, n_rows)
        score = n_rows == 8192
        call: Callable[[], object] = partial(kernel.topk, hidden, 10)
        if score:
            call = partial(kernel.target_logprobs, hidden, targets)
        call()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(10):
                call()
            torch.cuda.synchronize()
        rows = [
            {"what": "score" if score else "topk", "rows": n_rows, "kernel": event.key[:60],
             "us": event.self_device_time_total / 10, "calls": event.count / 10}
            for event in profile.key_averages()
        ]  # fmt: skip
        context.report.add("kernels", sorted(rows, key=lambda row: -float(row["us"]))[:12])


def tune_head(context: Context) -> None:
    """Block sizes of the head's product for few rows, where cuBLAS takes over, and the tails' programs."""
    shape = (shapes.TINY if context.dry else SHAPES)["wt103"]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    base = Tuning()
    heads = [
        (64, 128, 4, 4), (64, 64, 4, 6), (64, 128, 4, 3), (64, 256, 4, 3), (128, 128, 4, 3), (128, 64, 8, 4),
        (32, 128, 4, 4),
    ]  # fmt: skip
    tunings = [
        replace(base, head_block_v=v, head_block_k=k, head_warps=warps, head_stages=stages)
        for v, k, warps, stages in heads
    ]
    tunings += [replace(base, tail_programs=n) for n in (1, 2, 8)]
    tunings += [replace(base, row_warps=n) for n in (1, 2, 8)]
    _tune_topk(context, shape, softmax, tunings, (1,) if context.dry else (1, 64))
    tunings = [replace(base, blas_rows=n) for n in (8, 1024)]
    tunings += [replace(base, blas_rows=8, stats_block=n) for n in (1024, 4096)]
    _tune_topk(context, shape, softmax, tunings, (3,) if context.dry else (16, 32, 64, 128, 256))


def _tune_topk(
    context: Context,
    shape: shapes.Shape,
    softmax: AdaptiveSoftmax,
    tunings: list[Tuning],
    batches: tuple[int, ...],
) -> None:
    rates = (0.5,) * softmax.n_clusters
    for tuning in tunings[: 2 if context.dry else None]:
        kernel = TritonKernel(softmax, torch.bfloat16, max_rows=max(batches), tuning=tuning)
        for n_rows in batches:
            hidden = shapes.rows(shape, n_rows, rates, torch.bfloat16, context.device)
            kernel.topk(hidden, 10)
            if not context.only_compile:
                call = partial(kernel.topk, hidden, 10)
                _add_tuning(context, "tune topk", tuning, Tuning(), n_rows, call)


def tune_scorer(context: Context) -> None:
    """Block sizes of the scorer's product."""
    shape = (shapes.TINY if context.dry else SHAPES)["wt103"]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    base = ScoreTuning()
    tunings = [
        replace(base, block_b=b, block_v=v, block_k=k, warps=warps, stages=stages)
        for b, v, k, warps, stages in (
            (128, 128, 64, 8, 4), (128, 128, 64, 8, 3), (128, 128, 64, 4, 3), (256, 128, 64, 8, 3),
            (256, 128, 64, 8, 4), (64, 128, 64, 4, 4), (128, 128, 128, 8, 2), (256, 64, 64, 8, 4),
        )
    ]  # fmt: skip
    tunings += [replace(base, together=n) for n in (1, 4, 16, 64)]
    tunings += [
        replace(base, tail_block_b=b, tail_tiles=n) for b, n in ((32, 8), (128, 8), (64, 4), (64, 16))
    ]
    hidden, targets = text(context, shape, 20 if context.dry else 8192)
    for tuning in tunings[: 2 if context.dry else None]:
        kernel = TritonKernel(softmax, torch.bfloat16, max_rows=16, score_tuning=tuning)
        kernel.target_logprobs(hidden, targets)
        if not context.only_compile:
            call = partial(kernel.target_logprobs, hidden, targets)
            _add_tuning(context, "tune score", tuning, base, len(hidden), call)


def _add_tuning(
    context: Context,
    section: str,
    tuning: Tuning | ScoreTuning,
    base: Tuning | ScoreTuning,
    n: int,
    call: Callable[[], object],
) -> None:
    names = type(base).__dataclass_fields__
    changed = {name: getattr(tuning, name) for name in names if getattr(tuning, name) != getattr(base, name)}
    row = {"rows": n, "changed": str(changed or "nothing"), "ms": context.cold(call)}
    context.report.add(section, [row])
