"""What the head and an opened cluster cost an exact top-k, measured with the kernel that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from statistics import median
from time import perf_counter

import torch

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.kernels.base import Kernel
from models.kernels.choice import choose
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.clusters.timing import Point, TimeModel, TimeModels, fit, fit_widths

SHORTLIST = 64
CLUSTERS = 16
SIZES = (16, 64, 256, 1024, 4096)
HEADS = (256, 1024, 4096, 16384, 65536)
K = 10
RUNS = 15


def measure_serving(
    hidden_size: int,
    widths: Sequence[int],
    device: torch.device,
    largest: int,
    on_point: Callable[[int], None] = lambda _: None,
) -> tuple[TimeModel, TimeModels]:
    """g of the head, and of a cluster that opens by its width: seconds for one row, the words scored.

    The head is timed as a plain softmax of several sizes. A cluster costs what a search takes longer when
    every cluster opens than when none does, divided by their number.

    Args:
        hidden_size: d.
        widths: of the clusters.
        device: where.
        largest: no head larger than this is timed; the vocabulary's size.
        on_point: is called after each measurement.
    """
    heads = [size for size in HEADS if size < largest] + [largest]
    if len(heads) < 4:
        heads = [largest * i // 4 for i in (1, 2, 3, 4)]
    points = []
    for words in heads:
        kernel = choose(_layer(hidden_size, (words,), ()), device).exact
        points.append(Point(words, 1, _median(kernel, hidden_size, device)))
        on_point(1)
    by_width: dict[int, list[Point]] = {}
    for width in widths:
        by_width[width] = []
        for words in SIZES:
            cutoffs = tuple(accumulate([SHORTLIST, *[words] * CLUSTERS]))
            layer = _layer(hidden_size, cutoffs, (Band(clusters=CLUSTERS, width=width),))
            closed, opened = (
                _median(kernel, hidden_size, device) for kernel in _closed_and_opened(layer, device)
            )
            # Noise can make the difference vanish where a cluster costs next to nothing.
            by_width[width].append(Point(words, 1, max(opened - closed, 1e-8) / CLUSTERS))
            on_point(1)
    return fit(points), fit_widths(by_width)


def _layer(hidden_size: int, cutoffs: tuple[int, ...], bands: tuple[Band, ...]) -> AdaptiveSoftmax:
    config = ModelConfig(
        vocabulary_size=cutoffs[-1],
        hidden_size=hidden_size,
        cutoffs=cutoffs,
        bands=bands,
        head_bias=True,
        body=LSTMConfig(layers=1, units=1),
    )
    layer = AdaptiveSoftmax(config).requires_grad_(False)
    for weight in layer.parameters():
        # The GPU's kernels keep half-precision weights; these stay what they are.
        weight.copy_(weight.half())
    return layer


def _closed_and_opened(layer: AdaptiveSoftmax, device: torch.device) -> Iterator[Kernel]:
    columns = torch.arange(layer.shortlist + layer.n_clusters)
    for bias in (-100.0, 100.0):
        layer.head_bias = torch.nn.Parameter((columns >= layer.shortlist) * bias, requires_grad=False)
        yield choose(layer.to(device), device).exact


@torch.inference_mode()
def _median(kernel: Kernel, hidden_size: int, device: torch.device) -> float:
    """Seconds of a top-10 of one row, until the host has its answer; the median, each time another row."""
    rows = torch.randn(RUNS + 2, hidden_size, generator=torch.Generator().manual_seed(1)).to(device)
    times = []
    for row in rows[:, None]:
        start = perf_counter()
        kernel.topk(row, K).ids.cpu()
        times.append(perf_counter() - start)
    return median(times[2:])
