"""Clusters that are looked at in 8 bits first: skipped only where none of their words is among the k best."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.kernels.cpu.kernel import CpuKernel, Mode
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from tests.support.softmaxes import LEVELS, check, make_softmax, needs_extension, true_logprobs

pytestmark = needs_extension

MODES: tuple[Mode, ...] = ("exact", "fast")
WIDTHS = (64, 48)
K = 8


def layer(scale: float) -> AdaptiveSoftmax:
    """Two wide clusters, each with a dimension of the hidden row that moves its own column alone."""
    softmax = make_softmax(96, (700, 2000, 9000), tuple((1, width) for width in WIDTHS), scale=scale)
    n = softmax.n_clusters
    softmax.head[:, :n] = 0
    softmax.head[softmax.shortlist :] = 0
    softmax.head[range(softmax.shortlist, len(softmax.head)), range(n)] = 1
    for projection in softmax.projections:
        projection[:, :n] = 0
    return softmax


def near_the_edge(softmax: AdaptiveSoftmax, rows: int, seed: int) -> Tensor:
    """Rows where each cluster's best word is near the k-th best word, on either side."""
    generator = torch.Generator().manual_seed(seed)
    n = softmax.n_clusters
    hidden = torch.randn(rows, softmax.head.shape[1], generator=generator)
    hidden[:, :n] = 0
    threshold = (hidden @ softmax.head[: softmax.shortlist].T).topk(K).values[:, -1]
    for cluster in range(n):
        band = softmax.band_of[cluster]
        best = (hidden @ softmax.projections[band].T @ softmax.tails[band].T).log_softmax(1).amax(1)
        gap = torch.logspace(-5, 1, rows)[torch.randperm(rows, generator=generator)]
        gap *= torch.randint(0, 2, (rows,), generator=generator) * 2 - 1
        hidden[:, cluster] = threshold - best + gap
    return hidden


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.02, 1.0, 12.0])
def test_words_at_the_edge(level: str, mode: Mode, scale: float) -> None:
    softmax = layer(scale)
    kernel = CpuKernel(softmax, mode, level)
    for rows in (1, 2, 3, 40):
        hidden = near_the_edge(softmax, rows, rows)
        found, bound = kernel.topk_bounded(hidden, K)
        check(found, true_logprobs(softmax, hidden), [K] * rows, bound)


@pytest.mark.parametrize("spread", [70.0, 150.0])
def test_a_best_word_far_above_the_first_group(spread: float) -> None:
    """More than the sums' window of 60 nats; the word far above is in the last group, or in the first."""
    softmax = layer(1.0)
    row = torch.randn(1, softmax.head.shape[1])
    for band, word in ((0, -1), (1, -1), (0, 0), (1, 0)):
        softmax = layer(1.0)
        projected = softmax.projections[band] @ row[0]
        softmax.tails[band][word] = projected * spread / projected.square().sum()
        hidden = near_the_edge(softmax, 1, 5)
        hidden[0, softmax.n_clusters :] = row[0, softmax.n_clusters :]
        for mode in MODES:
            found, bound = CpuKernel(softmax, mode).topk_bounded(hidden, K)
            check(found, true_logprobs(softmax, hidden), [K], bound)


@pytest.mark.parametrize("mode", MODES)
def test_threads_share_large_clusters(mode: Mode) -> None:
    """Above 2^19 weights a cluster's pass is shared among threads, below each answers rows of its own."""
    softmax = layer(1.0)
    assert softmax.tails[0].numel() < 1 << 19
    softmax = make_softmax(96, (700, 9000, 100), ((1, 64), (1, 5)), scale=2.0)
    assert softmax.tails[0].numel() > 1 << 19
    for rows in (1, 3, 70):
        hidden = torch.randn(rows, 96, generator=torch.Generator().manual_seed(rows)) * 2
        one = CpuKernel(softmax, mode, threads=1).topk(hidden, K)
        for threads in (2, 3):
            other = CpuKernel(softmax, mode, threads=threads).topk(hidden, K)
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_bound_of_a_score_counts_the_clusters() -> None:
    """Where the clusters have most of the probability, 8 bits of the short-list move a score less."""
    softmax = layer(1.0)
    hidden = near_the_edge(softmax, 50, 1)
    targets = torch.arange(50)
    kernel = CpuKernel(softmax, "fast")
    found, few = kernel.target_logprobs_bounded(hidden, targets)
    want = true_logprobs(softmax, hidden).gather(1, targets[:, None])[:, 0]
    assert ((found - want).abs() <= few + 1e-4).all()
    hidden[:, : softmax.n_clusters] = -50
    _, all_of_it = kernel.target_logprobs_bounded(hidden, targets)
    assert (few > 3e-6).all()
    assert (few <= all_of_it * 1.01 + 1e-5).all()
