"""Sampled softmax: a training loss over the targets and a sample of words, by importance sampling.

Bengio & Senecal, "Quick training of probabilistic neural nets by importance sampling", AISTATS 2003; with one
sample for all rows of a step as in Jean et al., "On using very large target vocabulary for neural machine
translation", ACL 2015. The model is a plain softmax and is evaluated as one.
"""

from __future__ import annotations

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.parameters import linear


class SampledLoss:
    """-log p of targets (N,) in which `samples` words drawn by a power of their frequency stand for all."""

    def __init__(
        self, counts: npt.ArrayLike, samples: int, device: torch.device, power: float = 1.0, seed: int = 1
    ) -> None:
        weights = torch.as_tensor(counts, dtype=torch.float64).clamp(min=0.5).pow(power)
        self.logarithms = (weights / weights.sum()).log().float().to(device)
        self.cumulated = (weights / weights.sum()).cumsum(0)
        self.samples, self.device, self.seed = samples, device, seed

    def draw(self, step: int) -> Tensor:
        """(samples,) words, with replacement; the same for the same step, so that a resumed run repeats."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        points = torch.rand(self.samples, dtype=torch.float64, generator=generator) * self.cumulated[-1]
        return (
            torch.searchsorted(self.cumulated, points, right=True)
            .clamp(max=len(self.cumulated) - 1)
            .to(self.device)
        )

    def __call__(self, softmax: AdaptiveSoftmax, hidden: Tensor, targets: Tensor, words: Tensor) -> Tensor:
        """(N,) losses.

        The sum over all words is that of the target and, for each drawn word that is another, exp(its logit)
        over how often it was expected among those drawn: on average the true sum.
        """
        expected = self.logarithms + torch.log(torch.tensor(float(len(words))))
        both = torch.cat([targets, words])
        weight = softmax.head[both]
        own = (hidden * weight[: len(targets)]).float().sum(1)
        others = linear(hidden, weight[len(targets) :]) - expected[words]
        if softmax.head_bias is not None:
            bias = softmax.head_bias[both]
            own, others = own + bias[: len(targets)], others + bias[len(targets) :]
        others = others.masked_fill(words == targets[:, None], -torch.inf)
        logits = torch.cat([own[:, None], others], 1)
        return F.cross_entropy(logits, torch.zeros_like(targets), reduction="none")
