"""Brute force: the log-probability of every word in float64, and whether an answer is the true top-k."""

from __future__ import annotations

import torch
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax

WORDS_AT_ONCE = 1 << 14
TIE = 1e-5
"""Words whose true log-probabilities are closer than float32 can tell may change places."""


def true_logprobs(softmax: AdaptiveSoftmax, hidden: Tensor) -> Tensor:
    """(B, V) float64; the weights are widened a piece at a time, since they may be most of the memory."""
    bias = softmax.head_bias
    head = _logits(hidden, softmax.head_weight(), None if bias is None else bias.double()).log_softmax(1)
    parts, at = [head[:, : softmax.shortlist]], [0] * len(softmax.tails)
    for cluster, size in enumerate(softmax.cluster_sizes):
        band = softmax.band_of[cluster]
        words = slice(at[band], at[band] + size)
        at[band] += size
        projected = hidden.double() @ softmax.projection_weight(band).double().T
        own = None if softmax.tail_biases is None else softmax.tail_biases[band][words].double()
        tail = _logits(projected, softmax.tail_weight(band)[words], own).log_softmax(1)
        parts.append(head[:, softmax.shortlist + cluster, None] + tail)
    return torch.cat(parts, 1)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = hidden.double()
    logits = torch.cat([rows @ some.double().T for some in torch.split(weight, WORDS_AT_ONCE)], 1)
    return logits if bias is None else logits + bias


def is_top(truth: Tensor, excluded: Tensor, ids: Tensor) -> bool:
    """Whether each row's `ids` (B, k) are its most probable words, best first, up to `TIE`."""
    allowed = truth.masked_fill(excluded, -torch.inf)
    best = allowed.topk(ids.shape[1]).values
    distinct = all(len(set(row)) == len(row) for row in ids.tolist())
    return distinct and bool(((allowed.gather(1, ids) - best).abs() <= TIE).all())


def largest_error(truth: Tensor, ids: Tensor, logprobs: Tensor) -> float:
    """By how much a log-probability of an answer is off at most, in nats."""
    return float((truth.gather(1, ids) - logprobs.double()).abs().max())
