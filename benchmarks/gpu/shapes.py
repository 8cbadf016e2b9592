"""Output layers of published sizes with synthetic weights, and rows that open as many clusters as wanted.

Random weights make every cluster improbable, which flatters a method that opens clusters only when it must.
So each cluster has one dimension of the hidden row to itself: where that is 1 the cluster's logit is that of
the best word, where it is -1 the cluster cannot compete. How often it is 1 is the expansion rate: 0, 1, or
what the model that ships shows for the same ranges of words, on text that it writes itself.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from models.benchmarking.shapes import Shape
from models.bundle import DEFAULT, Bundle
from models.softmax.adaptive_softmax import AdaptiveSoftmax

TINY: Final = {"wt103": Shape(64, (300, 500, 900), (32, 16))}


def synthetic(shape: Shape, dtype: torch.dtype, device: torch.device) -> AdaptiveSoftmax:
    """Random weights, rounded to `dtype`, peaked about as a trained model's."""
    torch.manual_seed(1)
    with torch.device(device):
        softmax = shape.softmax()
    n, c0 = softmax.n_clusters, softmax.shortlist
    softmax.head.mul_(2.5)
    softmax.head[:, :n] = 0
    softmax.head[c0:] = 0
    # About the largest of c0 normal logits of that spread.
    softmax.head[range(c0, c0 + n), range(n)] = 2.5 * (2 * torch.tensor(float(c0)).log()).sqrt().item()
    for weight in softmax.parameters():
        weight.copy_(weight.to(dtype))
    return softmax


def rows(shape: Shape, n: int, rates: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, d) hidden rows; cluster c is opened by a share `rates[c]` of them."""
    generator = torch.Generator().manual_seed(n)
    hidden = torch.randn(n, shape.hidden_size, generator=generator)
    rate = torch.tensor(rates)
    # Spread evenly rather than drawn: at few rows as well the share is near the rate.
    steps = torch.arange(n)[:, None] * rate + 0.5
    opened = (steps + rate).floor() > steps.floor()
    hidden[:, : len(rates)] = torch.where(opened, 1.0, -1.0)
    return hidden.to(device, dtype)


@torch.inference_mode()
def written_by_model(bundle: Bundle, texts: int, words: int) -> Tensor:
    """(texts * words, d) hidden rows of texts that the model writes, a word drawn at a time."""
    model, device = bundle.model, bundle.device
    generator = torch.Generator(device).manual_seed(0)
    ids = torch.full((texts, 1), bundle.vocabulary.end_id, device=device)
    state, found = model.initial_state(texts), []
    for _ in range(words):
        hidden, state = model.encode(ids, torch.ones(texts, dtype=torch.int64), state)
        found.append(hidden[:, 0])
        ids = torch.multinomial(model.softmax.log_prob(hidden[:, 0]).exp(), 1, generator=generator)
    return torch.stack(found, 1).flatten(0, 1)


def shipped(device: torch.device) -> Bundle | None:
    """The model that ships, if it is in this checkout."""
    if not (DEFAULT / "model.safetensors").is_file():
        return None
    return Bundle.load(DEFAULT, str(device))


@torch.inference_mode()
def expansion_rates(
    softmax: AdaptiveSoftmax, hidden: Tensor, cutoffs: tuple[int, ...], k: int
) -> list[float]:
    """How many of the `hidden` rows would open each cluster between `cutoffs`, if the words of `softmax` were
    clustered so. A cluster beyond its vocabulary counts like the one before it."""
    rates: list[float] = []
    words = softmax.cutoffs[-1]
    for low, high in pairwise(cutoffs):
        if low >= words:
            rates.append(rates[-1] if rates else 0.0)
            continue
        opened = 0
        for some in torch.split(hidden, 64):
            logprobs = softmax.log_prob(some).masked_fill(softmax.excluded, -torch.inf)
            least = logprobs[:, : cutoffs[0]].topk(k).values[:, -1]
            opened += int((logprobs[:, low:high].logsumexp(1) >= least).sum())
        rates.append(opened / len(hidden))
    return rates


def cluster_bytes(softmax: AdaptiveSoftmax, itemsize: int = 2) -> tuple[int, list[int]]:
    """Bytes of the head with its projections, and of each cluster's weights."""
    widths = [len(softmax.projections[band]) for band in softmax.band_of]
    head = (len(softmax.head) + sum(map(len, softmax.projections))) * softmax.head.shape[1]
    tails = [size * width for size, width in zip(softmax.cluster_sizes, widths, strict=True)]
    return head * itemsize, [tail * itemsize for tail in tails]
