"""The paper's model of what a matrix product costs, measured on the present device.

Grave et al., "Efficient softmax approximation for GPUs", ICML 2017, section 4.1: the product of hidden rows
(B x d) by a matrix (d x k) takes ``g(k, B) = max(c + lambda k0 B0, c + lambda k B)``. Below ``k0 B0`` the
device is not filled and a smaller product is no faster; above, time grows linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from statistics import median
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Array = npt.NDArray[np.float64]

ROUNDS = 200
"""At most, of a measurement."""

IN_A_ROW = 3
"""Runs that count of a size in a round."""

Operation = Literal["product", "training"]
"""``product``: the matrix product alone. ``training``: with the loss of a target a row, and backwards."""


class Point(NamedTuple):
    """One measurement: `seconds` of an operation on `batch` rows and a matrix of `k` columns."""

    k: int
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeModel:
    """g(k, B) = max(c + lambda k0 B0, c + lambda k B) + mu k, in seconds; mu = 0 is the paper's.

    The paper measured GPUs with hundreds of rows. A matrix must also be read once, however few rows there
    are, and in training its gradient written: with few rows a CPU spends most of its time on that, mu k.

    Attributes:
        c: what a call costs beside the work.
        slope: lambda, seconds a row and column.
        elbow: k0 B0, the rows x columns below which a call gets no cheaper.
        column: mu, seconds a column.
    """

    c: float
    slope: float
    elbow: float
    column: float = 0.0

    def __call__(self, k: npt.ArrayLike, batch: npt.ArrayLike) -> Array:
        """Seconds, elementwise."""
        k = np.asarray(k, np.float64)
        work = np.maximum(k * np.asarray(batch, np.float64), self.elbow)
        return np.asarray(self.c + self.slope * work + self.column * k)

    def errors(self, points: Sequence[Point]) -> Array:
        """The relative error of each of `points`: \\|predicted / measured - 1\\|."""
        k, batch, seconds = (np.array(column, np.float64) for column in zip(*points, strict=True))
        return np.abs(self(k, batch) / seconds - 1)


def fit(points: Sequence[Point], columns: bool = False) -> TimeModel:
    """The model with the least sum of relative errors: of each possible elbow the best line, of all the best.

    Args:
        points: what was measured.
        columns: fit mu, too; else it is 0, as in the paper.

    Raises:
        ValueError: fewer than four points.
    """
    if len(points) < 4:
        raise ValueError(f"a fit needs four measurements, got {len(points)}")
    k, batch, seconds = (np.array(column, np.float64) for column in zip(*points, strict=True))
    work = k * batch
    edges = np.unique(work)
    # Between two measured sizes the elbow may lie anywhere: some places between each two.
    between = [edges[:-1] * (edges[1:] / edges[:-1]) ** share for share in (0.25, 0.5, 0.75)]
    models = []
    for elbow in np.unique(np.concatenate([[0.0], edges[:-1], *between])).tolist():
        parts = [np.ones_like(work), np.maximum(work, elbow), *([k] if columns else [])]
        c, slope, *column = _line(np.stack(parts, 1), seconds)
        models.append(TimeModel(c, slope, elbow, *column))
    return min(models, key=lambda model: float(model.errors(points).sum()))


def _line(parts: Array, seconds: Array, rounds: int = 20) -> list[float]:
    """Non-negative factors of `parts` with the least sum of relative errors: reweighted least squares."""
    weights = 1 / seconds
    best, factors = np.inf, np.zeros(parts.shape[1])
    for _ in range(rounds):
        found = _non_negative(weights[:, None] * parts, weights * seconds)
        relative = np.abs(parts @ found - seconds) / seconds
        if relative.sum() < best:
            best, factors = relative.sum(), found
        weights = 1 / (seconds * np.sqrt(np.maximum(relative, 1e-4)))
    return [float(factor) for factor in factors]


def _non_negative(columns: Array, target: Array) -> Array:
    """Least squares with no factor below zero: the best of the subsets of columns, of which there are few."""
    scale = np.abs(columns).max(0)
    best, factors = np.inf, np.zeros(columns.shape[1])
    for subset in range(1, 1 << columns.shape[1]):
        used = [i for i in range(columns.shape[1]) if subset >> i & 1]
        found, *_ = np.linalg.lstsq(columns[:, used] / scale[used], target, rcond=None)
        miss = float(((columns[:, used] / scale[used] @ found - target) ** 2).sum())
        if (found >= 0).all() and miss < best:
            best, factors = miss, np.zeros(columns.shape[1])
            factors[used] = found / scale[used]
    return factors


def grid(largest_k: int, largest_batch: int, most_work: float = 2e7) -> list[tuple[int, int]]:
    """(k, B) in geometric progression, up to the largest of each and to `most_work` = k B."""
    ks = [16 * 4**i for i in range(20) if 16 * 4**i < largest_k] + [largest_k]
    batches = [8 * 2**i for i in range(40) if 8 * 2**i < largest_batch] + [largest_batch]
    return [(k, batch) for k in ks for batch in batches if k * batch <= most_work]


def measure(
    sizes: Sequence[tuple[int, int]],
    width: int,
    device: torch.device,
    operation: Operation = "product",
    precision: str = "float32",
    seconds: float = 4.0,
    on_point: Callable[[int], None] = lambda _: None,
) -> list[Point]:
    """Time `operation` at each (k, B) of `sizes`: medians of rounds, each with all sizes in a new order.

    In rounds, because a machine is faster in one second than in the next, and what ran just before leaves the
    caches in another state. The first run of each in a round
    does not count, nor does one of all before.

    Args:
        sizes: columns and rows.
        width: the inner dimension d.
        device: where; the time is until the device has finished.
        operation: see `Operation`.
        precision: ``bfloat16`` runs it as training in that precision does.
        seconds: about how long all of it may take, at least three rounds.
        on_point: is called once for each size, spread over the time.
    """
    runs = [_prepare(k, batch, width, device, operation, precision) for k, batch in sizes]
    times: list[list[float]] = [[] for _ in sizes]
    order = np.random.default_rng(1)
    told = 0
    with torch.inference_mode(operation == "product"):
        for run in runs:
            run()
        started = perf_counter()
        for turn in range(ROUNDS):
            for at in order.permutation(len(sizes)).tolist():
                runs[at]()
                times[at] += [_time(runs[at], device) for _ in range(IN_A_ROW)]
            share = (perf_counter() - started) / max(seconds, 1e-9)
            if share >= 1 and turn >= 2:
                break
            while told < min(share, 1) * len(sizes) - 1:
                on_point(1)
                told += 1
    for _ in range(len(sizes) - told):
        on_point(1)
    return [Point(k, batch, median(found)) for (k, batch), found in zip(sizes, times, strict=True)]


def _prepare(
    k: int, batch: int, width: int, device: torch.device, operation: Operation, precision: str
) -> Callable[[], object]:
    training = operation == "training"
    weight = torch.randn(k, width, device=device).div_(width**0.5).requires_grad_(training)
    hidden = torch.randn(batch, width, device=device).requires_grad_(training)
    targets = torch.arange(batch, device=device) % k

    # What surrounds a call costs microseconds, as much as a small product: only where it is needed.
    halved = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def multiply() -> Tensor:
        return F.linear(hidden, weight)

    def multiply_halved() -> Tensor:
        with halved:
            return multiply()

    product = multiply if precision == "float32" else multiply_halved

    def train() -> None:
        torch.autograd.backward(F.cross_entropy(product().float(), targets))
        weight.grad = hidden.grad = None

    return train if training else product


def _time(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - start


@dataclass(frozen=True, slots=True)
class TimeModels:
    """A `TimeModel` for each measured width of the hidden row; other widths lie between."""

    fitted: dict[int, TimeModel]
    points: dict[int, list[Point]]

    def at(self, width: int) -> TimeModel:
        """The model of `width`: each of its numbers interpolated linearly, constant beyond the ends."""
        widths = sorted(self.fitted)
        rows = [astuple(self.fitted[w]) for w in widths]
        return TimeModel(*(float(np.interp(width, widths, column)) for column in zip(*rows, strict=True)))

    @property
    def error(self) -> float:
        """The median relative error of all fits on what they were fitted to."""
        return float(np.median(np.concatenate([m.errors(self.points[w]) for w, m in self.fitted.items()])))


def fit_widths(points: dict[int, list[Point]], columns: bool = False) -> TimeModels:
    """One fit for each width."""
    return TimeModels({width: fit(measured, columns) for width, measured in points.items()}, points)


def weight_seconds(device: torch.device, weights: int = 1_000_000) -> float:
    """What a weight costs a training step beside the products: its gradient clipped, Adam's update."""
    weight = torch.zeros(weights, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1e-3, fused=True)
    gradient = torch.full_like(weight, 1e-3)

    def update() -> None:
        weight.grad = gradient
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()

    update()
    return median([_time(update, device) for _ in range(9)]) / weights
