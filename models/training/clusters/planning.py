"""From measurements to plans: the best cutoffs for training or for serving, by number of clusters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import Bundle
from models.config.model import Band
from models.training.clusters.cutoffs import Costs, Plan, TrainingCosts, Widths, candidates, cheapest
from models.training.clusters.serving_costs import Masses, ServingCosts, masses, words_scored
from models.training.clusters.serving_time import measure_serving
from models.training.clusters.timing import Point, TimeModels, fit_widths, grid, measure, weight_seconds
from models.training.corpus import CorpusError, Tokens, is_held_out, lines
from models.training.evaluation import hidden_rows

FEW = (*range(1, 13), 16, 24, 32)
"""Numbers of clusters to plan for where each has a projection of its own."""

MANY = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 200)
"""Where clusters share those of bands."""

LOGIT_ROWS = 64
"""Rows whose full distribution is in memory at once."""

SLACK = 0.02


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Plans by number of clusters, the costs that they were found with, and what the costs rest on."""

    plans: list[Plan]
    costs: Costs
    times: TimeModels

    @property
    def best(self) -> Plan:
        """The plan with the fewest clusters of those within `SLACK` of the cheapest: more add nothing."""
        enough = min(plan.seconds for plan in self.plans) * (1 + SLACK)
        return min((p for p in self.plans if p.seconds <= enough), key=lambda plan: plan.clusters)


def training_plans(
    counts: npt.ArrayLike,
    widths: Widths,
    batch: int,
    device: torch.device,
    precision: str,
    clusters: Sequence[int],
    shortlist: int,
    on_point: Callable[[int], None] = lambda _: None,
    seconds: float = 3.0,
) -> Recommendation:
    """Cutoffs that make a training step fast; see `TrainingCosts`.

    Args:
        counts: (V,) occurrences of each id.
        widths: of the clusters.
        batch: words a step.
        device: where the step runs; measured for about `seconds` a width.
        precision: ``float32`` or ``bfloat16``.
        clusters: the numbers to plan for; those that do not fit are left out.
        shortlist: its words, at least. Only they are as wide as the hidden row, which the costs do not know.
        on_point: is called after each measurement.
    """
    size = len(np.asarray(counts))
    sizes = training_sizes(size, batch)
    times = fit_widths(
        {
            width: measure(sizes, width, device, "training", precision, seconds, on_point)
            for width in measured_widths(widths)
        },
        columns=True,
    )
    edges = candidates(size, smallest=shortlist, also=[rank for _, rank in widths.bands])
    costs = TrainingCosts(counts, times, widths, batch, edges, weight_seconds(device))
    return Recommendation(_plans(costs, clusters), costs, times)


def training_sizes(vocabulary_size: int, batch: int) -> list[tuple[int, int]]:
    """The (k, B) that are measured to plan for training."""
    return grid(vocabulary_size, batch, most_work=1e7)


def measured_widths(widths: Widths) -> list[int]:
    """The widths that are measured; others lie between them."""
    return sorted({widths.hidden_size, *_cluster_widths(widths)}, reverse=True)


def _cluster_widths(widths: Widths) -> set[int]:
    if widths.bands:
        return {width for width, _ in widths.bands}
    return {widths.of_cluster(i) for i in range(3)}


def serving_plans(
    rows: Masses,
    k: int,
    widths: Widths,
    device: torch.device,
    clusters: Sequence[int],
    *,
    words: bool = False,
) -> Recommendation:
    """Cutoffs that make an exact top-k of one row fast, or (`words`) score few words; see `ServingCosts`."""
    if words:
        costs, times = words_scored(rows, k), TimeModels({}, {})
    else:
        head, times = measure_serving(
            widths.hidden_size, sorted(_cluster_widths(widths), reverse=True), device, int(rows.grid[-1])
        )  # fmt: skip
        costs = ServingCosts(rows, k, head, times, widths)
    return Recommendation(_plans(costs, clusters), costs, times)


def _plans(costs: Costs, clusters: Sequence[int]) -> list[Plan]:
    plans = []
    for number in clusters:
        try:
            plans.append(cheapest(costs, number))
        except ValueError:  # so many, or so few for the bands, do not fit
            continue
    if not plans:
        raise ValueError(f"no number of clusters of {list(clusters)} fits {costs.grid[-1]} words")
    return plans


def bands_of(cutoffs: Sequence[int], widths: Widths) -> tuple[Band, ...]:
    """The bands of a `ModelConfig` with `cutoffs`."""
    if not widths.bands:
        return tuple(Band(clusters=1, width=widths.of_cluster(i)) for i in range(len(cutoffs) - 1))
    of = widths.of_edges(np.array(cutoffs[:-1], np.int64))
    return tuple(
        Band(clusters=int(number), width=width)
        for band, (width, _) in enumerate(widths.bands)
        if (number := (of == band).sum())
    )


def sample_lines(
    bundle: Bundle, files: Sequence[Path], words: int, holdout_every: int = 500, seed: int = 1
) -> list[Tokens]:
    """Lines of a text as tokens, about `words` in all, spread over it.

    Of each file the lines that training holds out (line i, from 0, where ``i % holdout_every ==
    holdout_every // 2``); every line of files that have too few.

    Raises:
        CorpusError: the files hold no text.
    """
    chosen: list[str] = []
    for file in files:
        every: list[str] = []
        some = []
        for i, line in enumerate(lines(file)):
            if i < holdout_every:
                every.append(line)
            if is_held_out(i, holdout_every):
                some.append(line)
        chosen += some if len(some) > 1 else every
    if not chosen:
        raise CorpusError("no text")
    random.Random(seed).shuffle(chosen)  # noqa: S311 (no secret)
    vocabulary, tokens, total = bundle.vocabulary, [], 0
    for text in chosen:
        ids = np.array([*vocabulary.encode_batch([text])[0], vocabulary.end_id], np.uint32)
        tokens.append(ids)
        total += len(ids)
        if total >= words:
            break
    return tokens


def full_logprobs(bundle: Bundle, tokens: list[Tokens], rows: int) -> Iterator[Tensor]:
    """(n, V) log-probabilities of every word after each position of `tokens`, `rows` in all, in pieces."""
    left = rows
    softmax = bundle.model.softmax
    for hidden, _ in hidden_rows(bundle.model, tokens, bundle.vocabulary.end_id):
        for part in torch.split(hidden[:left], LOGIT_ROWS):
            yield softmax.log_prob(part)
        left -= len(hidden)
        if left <= 0:
            return


@torch.inference_mode()
def masses_of(
    bundle: Bundle,
    tokens: list[Tokens],
    rows: int,
    ks: Sequence[int],
    edges: npt.NDArray[np.int64],
    on_rows: Callable[[int], None] = lambda _: None,
) -> Masses:
    """`Masses` of a model on text."""
    return masses(full_logprobs(bundle, tokens, rows), edges, ks, bundle.model.softmax.excluded, on_rows)


def product_points(
    vocabulary_size: int,
    batch: int,
    width: int,
    device: torch.device,
    on_point: Callable[[int], None] = lambda _: None,
    seconds: float = 15.0,
) -> list[Point]:
    """Times of the bare matrix product at `width`, for every size of a training step and smaller."""
    sizes = training_sizes(vocabulary_size, batch)
    return measure(sizes, width, device, "product", "float32", seconds, on_point)
