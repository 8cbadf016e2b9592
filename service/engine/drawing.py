"""Words drawn for a batch: each row's own temperature, bias and random numbers."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from models.language_model import LanguageModel
from models.softmax.sampling import Draw
from service.contract.messages import Sampling

_WORD = (1 << 64) - 1


def draw(
    model: LanguageModel, hidden: Tensor, samplings: Sequence[Sampling]
) -> tuple[list[tuple[int, float]], list[list[int]]]:
    """A word and its log-probability for each row of `hidden` (B, d), and the clusters opened to find it."""
    drawn: list[tuple[int, float]] = [(0, 0.0)] * len(samplings)
    opened: list[list[int]] = [[] for _ in samplings]
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature]
    for row, sampling in enumerate(samplings):
        if not sampling.temperature:
            drawn[row] = model.greedy(hidden[row : row + 1], dict(sampling.bias))
    if warm:
        draws = [
            Draw(
                uniforms(samplings[row].seed, samplings[row].step),
                samplings[row].temperature,
                samplings[row].top_p,
                dict(samplings[row].bias),
            )
            for row in warm
        ]
        found = model.draw(hidden if len(warm) == len(hidden) else hidden[warm], draws)
        words = zip(found.ids.tolist(), found.logprobs.tolist(), strict=True)
        for row, word, clusters in zip(warm, words, found.expanded.tolist(), strict=True):
            drawn[row] = word
            opened[row] = [cluster for cluster, was in enumerate(clusters) if was]
    return drawn, opened


def uniforms(seed: int, step: int) -> Iterator[float]:
    """Uniform numbers in [0, 1) that depend on nothing else: a counter-based generator (Philox, Salmon et al.
    2011) has a stream of its own for each seed and step."""
    generator = np.random.Generator(np.random.Philox(key=seed & _WORD, counter=[0, 0, step, 0]))
    while True:
        yield float(generator.random())
