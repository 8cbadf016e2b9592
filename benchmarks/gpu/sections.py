# mypy: disable-error-code="import-not-found"
"""What `benchmarks.gpu` measures, a function a section."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import torch
import triton.testing
from torch import Tensor

from benchmarks.gpu import baselines, shapes
from benchmarks.gpu.report import Report, Row
from models.benchmarking.shapes import SHAPES
from models.kernels.triton.buffers import power
from models.kernels.triton.kernel import TritonKernel
from models.kernels.triton.topk import GraphBucket
from models.softmax.adaptive_softmax import AdaptiveSoftmax


@dataclass
class Context:
    """Where results go, and the ceilings that they are compared with."""

    report: Report
    dry: bool
    only_compile: bool = False
    bandwidth: float = 1.0  # bytes a second
    peak: float = 1.0  # bfloat16 FLOP a second
    rates: dict[str, list[float]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The GPU, or the CPU in a dry run."""
        return torch.device("cpu" if self.dry else "cuda")

    def batches(self, most: int = 1024) -> list[int]:
        """Numbers of rows."""
        return [1, 3] if self.dry else [n for n in (1, 4, 16, 64, 256, 1024) if n <= most]

    def cold(self, call: Callable[[], object]) -> float:
        """Milliseconds, the median, each call with empty caches."""
        if self.only_compile or self.dry:
            start = time.perf_counter()
            call()
            return 1e3 * (time.perf_counter() - start)
        return float(triton.testing.do_bench(call, warmup=20, rep=80, return_mode="median"))

    def hot(self, call: Callable[[], object]) -> float:
        """Milliseconds, the mean of calls one after another."""
        if self.only_compile or self.dry:
            return self.cold(call)
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        start, n = time.perf_counter(), 0
        while n < 10 or time.perf_counter() - start < 0.05:
            call()
            n += 1
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / n

    def baseline(self, call: Callable[[], object], graph: bool) -> float:
        """Cold milliseconds of a baseline, captured where that can be done."""
        if not graph or self.dry:
            return self.cold(call)
        try:
            replay = self.capture(call)
        except RuntimeError as error:
            self.report.note(f"a baseline ran without a graph: {error}".splitlines()[0])
            replay = call
        return self.cold(replay)

    def capture(self, call: Callable[[], object]) -> Callable[[], object]:
        """`call` as a CUDA graph's replay."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph.replay


def ceilings(context: Context) -> None:
    """The copy bandwidth, and the rate of a large bfloat16 product on random data."""
    size = 64 if context.dry else 8192
    a = torch.randn(size, size, device=context.device, dtype=torch.bfloat16)
    big = torch.empty(size * size * (1 if context.dry else 16), dtype=torch.int32, device=context.device)
    other = torch.empty_like(big)
    context.bandwidth = 2 * big.nbytes / context.cold(lambda: other.copy_(big)) * 1e3
    context.peak = 2 * size**3 / context.cold(lambda: a @ a) * 1e3
    context.report.add("ceilings", [{"TB/s": context.bandwidth / 1e12, "bf16 TFLOP/s": context.peak / 1e12}])


# -- the k best words -------------------------------------------------------------------------------------


def topk_of_shape(context: Context, name: str, ks: tuple[int, ...] = (10,)) -> None:
    """A published shape with synthetic weights: no cluster opened, some, and all."""
    shape = (shapes.TINY if context.dry else SHAPES)[name]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    kernel = TritonKernel(softmax, torch.bfloat16)
    full = torch.randn(shape.cutoffs[-1], shape.hidden_size, device=context.device, dtype=torch.bfloat16)
    n = softmax.n_clusters
    for k in ks:
        measured = tuple(context.rates.get(f"{name} {k}", [0.5] * n))
        for n_rows, expansion in product(context.batches(), ("none", "measured", "all")):
            if k != ks[0] and expansion != "measured":
                continue
            rates = {"none": (0.0,) * n, "measured": measured, "all": (1.0,) * n}[expansion]
            hidden = shapes.rows(shape, n_rows, rates, torch.bfloat16, context.device)
            calls = baselines.topk_baselines(softmax, full, hidden, k, torch.bfloat16)
            row = {"shape": name, "batch": n_rows, "k": k, "expansion": expansion}
            context.report.add("topk", [row | _time_topk(context, kernel, softmax, hidden, k, calls)])


def topk_of_shipped_model(context: Context) -> None:
    """The model that ships, with its own hidden rows; and how often it would open the others' clusters."""
    bundle = shapes.shipped(context.device)
    if bundle is None:
        context.report.note("default: this checkout has no model")
        return
    softmax = bundle.model.softmax
    hidden = shapes.written_by_model(bundle, *((2, 2) if context.dry else (64, 32)))
    for (name, shape), k in product(SHAPES.items(), (1, 10, 100)):
        context.rates[f"{name} {k}"] = shapes.expansion_rates(softmax, hidden, shape.cutoffs, k)
    context.report.add(
        "rates", [{"shape, k": key, "rates": str(rate)} for key, rate in context.rates.items()]
    )
    kernel = TritonKernel(softmax)
    for n_rows, k in product(context.batches(), (10,) if context.dry else (1, 10, 100)):
        some = hidden[torch.arange(n_rows, device=context.device) * 7 % len(hidden)]
        calls = baselines.topk_baselines(softmax, None, some, k, kernel.weights.dtype)
        row = {"shape": "default", "batch": n_rows, "k": k, "expansion": "real"}
        context.report.add("topk", [row | _time_topk(context, kernel, softmax, some, k, calls)])


def _time_topk(
    context: Context,
    kernel: TritonKernel,
    softmax: AdaptiveSoftmax,
    hidden: Tensor,
    k: int,
    calls: dict[str, tuple[Callable[[], object], bool]],
) -> Row:
    found = kernel.topk(hidden, k)
    if context.only_compile:
        return {}
    want = softmax.topk(hidden[:64].float(), k)
    error = (found.logprobs[:64] - want.logprobs).abs().max().item()
    same = (found.ids[:64] == want.ids).float().mean().item()
    head, tails = shapes.cluster_bytes(softmax)
    opened = found.expanded.any(0).tolist()
    moved = head + sum(size for size, yes in zip(tails, opened, strict=True) if yes)
    floor = 1e3 * max(moved / context.bandwidth, head * len(hidden) / context.peak)
    call = partial(kernel.topk, hidden, k)
    ours = context.cold(call)
    row: Row = {"ours_ms": ours, "hot_ms": context.hot(call)}
    if kernel.search.captured:
        cap = next(cap for cap in (16, 128, 1024) if k <= cap)
        dtype = hidden.dtype if hidden.dtype == kernel.weights.dtype else torch.float32
        graph = kernel.search.captured[GraphBucket(power(len(hidden)), cap, dtype, masked=False)]
        row["graph_ms"] = context.cold(graph.replay)
    row |= {
        "opened": found.expanded.float().mean().item(),
        "floor_ms": floor,
        "of_floor": row.get("graph_ms", ours) / floor,
        "error": error,
        "same_ids": same,
    }
    times = {name: context.baseline(other, graph) for name, (other, graph) in calls.items()}
    times["best_torch"] = min(times.values())
    return row | {"baselines_ms": times, "ratio": {name: value / ours for name, value in times.items()}}


def compiled_baseline(context: Context) -> None:
    """torch.compile's best for the composite, at one shape: it compiles for minutes."""
    shape = (shapes.TINY if context.dry else SHAPES)["wt103"]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    if context.dry:
        return
    for n_rows in (1, 64, 1024):
        hidden = shapes.rows(shape, n_rows, (0.5,) * softmax.n_clusters, torch.bfloat16, context.device)
        calls = baselines.topk_baselines(softmax, None, hidden, 10, torch.bfloat16, everything=True)
        call, graph = calls["composite_compiled"]
        call()
        row = {"shape": "wt103", "batch": n_rows, "k": 10, "ms": context.baseline(call, graph)}
        context.report.add("composite, compiled", [row])


# -- scoring ----------------------------------------------------------------------------------------------


def scoring(context: Context) -> None:
    """Rows of text, targets as frequent as words are."""
    shape = (shapes.TINY if context.dry else SHAPES)["wt103"]
    softmax = shapes.synthetic(shape, torch.bfloat16, context.device)
    kernel = TritonKernel(softmax, torch.bfloat16)
    full = torch.randn(shape.cutoffs[-1], shape.hidden_size, device=context.device, dtype=torch.bfloat16)
    for n_rows in (5, 20) if context.dry else (16, 256, 2048, 8192):
        hidden, targets = text(context, shape, n_rows)
        call = partial(kernel.target_logprobs, hidden, targets)
        found = call()
        if context.only_compile:
            continue
        want = softmax.target_logprobs(hidden.float(), targets)
        ours = context.cold(call)
        flops = 2 * n_rows * len(softmax.head) * shape.hidden_size
        calls = baselines.score_baselines(softmax, full, hidden, targets)
        times = {name: context.cold(other) for name, other in calls.items()}
        row = {
            "shape": "wt103",
            "rows": n_rows,
            "ours_ms": ours,
            "hot_ms": context.hot(call),
            "head_of_peak": flops / ours * 1e3 / context.peak,
            "error": (found - want).abs().max().item(),
            "baselines_ms": times,
            "ratio": {name: value / ours for name, value in times.items()},
        }
        context.report.add("score", [row])


def text(context: Context, shape: shapes.Shape, n: int) -> tuple[Tensor, Tensor]:
    """Hidden rows, half of which open each cluster, and targets as frequent as words are."""
    hidden = shapes.rows(shape, n, (0.5,) * len(shape.widths), torch.bfloat16, context.device)
    generator = torch.Generator().manual_seed(0)
    # Zipf's law: the rank is the exponential of a uniform number.
    uniform = torch.rand(n, generator=generator).double()
    targets = (torch.tensor(float(shape.cutoffs[-1])).pow(uniform) - 1).long()
    return hidden, targets.clamp(max=shape.cutoffs[-1] - 1).to(context.device)


def body(context: Context) -> None:
    """One step of the shipped model's body: it must not take longer than the output layer."""
    bundle = shapes.shipped(context.device)
    if bundle is None:
        return
    model = bundle.model
    with torch.inference_mode():
        for n in context.batches():
            ids = torch.arange(n, device=context.device)[:, None]
            lengths, state = torch.ones(n, dtype=torch.int64), model.initial_state(n)
            step = partial(model.encode, ids, lengths, state)
            row = {"rows": n, "cold_ms": context.cold(step), "hot_ms": context.hot(step)}
            context.report.add("body", [row])
