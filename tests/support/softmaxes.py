"""Random output layers of any shape, and what their top-k must be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.kernels.cpu.library import KernelError, best_level
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import TopK


def make_softmax(
    d: int,
    sizes: Sequence[int],
    bands: Sequence[tuple[int, int]] = (),
    bias: bool = False,
    scale: float = 2.0,
    excluded: Sequence[int] = (),
    seed: int = 0,
) -> AdaptiveSoftmax:
    """`sizes`: the short-list's, then each cluster's; `bands`: (clusters, width) each."""
    torch.manual_seed(seed)
    cutoffs = tuple(accumulate(sizes))
    config = ModelConfig(
        vocabulary_size=cutoffs[-1],
        hidden_size=d,
        cutoffs=cutoffs,
        bands=tuple(Band(clusters=clusters, width=width) for clusters, width in bands),
        head_bias=bias,
        tail_bias=bias,
        tied=False,
        body=LSTMConfig(layers=1, units=4),
    )
    softmax = AdaptiveSoftmax(config, frozenset(excluded)).requires_grad_(False)
    for weight in (softmax.head, *softmax.tails):
        weight.mul_(scale)
    if softmax.head_bias is not None and softmax.tail_biases is not None:
        for values in (softmax.head_bias, *softmax.tail_biases):
            values.normal_()
    return softmax


def make_integers(softmax: AdaptiveSoftmax, seed: int = 0) -> AdaptiveSoftmax:
    """Weights of -1, 0 and 1: exact arithmetic, many ties."""
    torch.manual_seed(seed)
    for weight in softmax.parameters():
        weight.copy_(torch.randint(-1, 2, weight.shape))
    return softmax


def true_logprobs(
    softmax: AdaptiveSoftmax, hidden: Tensor, allowed: Sequence[Tensor | None] | None = None
) -> Tensor:
    """(B, V) float64 log-probabilities by brute force; -inf for words that must not be answered."""
    head, bias = softmax.head.double(), softmax.head_bias
    logits = hidden.double() @ head.T + (0 if bias is None else bias.double())
    logits = logits.log_softmax(1)
    parts = [logits[:, : softmax.shortlist]]
    for cluster in range(softmax.n_clusters):
        band = softmax.band_of[cluster]
        start = softmax.cutoffs[cluster] - softmax.cutoffs[softmax.band_of.index(band)]
        words = slice(start, start + softmax.cluster_sizes[cluster])
        weight = softmax.tails[band][words]
        tail_bias = None if softmax.tail_biases is None else softmax.tail_biases[band][words]
        # The projected row as float32 has it: the models are trained and served so.
        projected = (hidden.double() @ softmax.projections[band].double().T).float()
        tail = projected.double() @ weight.double().T + (0 if tail_bias is None else tail_bias.double())
        parts.append(logits[:, softmax.shortlist + cluster, None] + tail.log_softmax(1))
    every = torch.cat(parts, 1).masked_fill(softmax.excluded, -torch.inf)
    for row, ids in zip(every, allowed or [], strict=False):
        if ids is not None:
            kept = row[ids].clone()
            row.fill_(-torch.inf)
            row[ids] = kept
    return every


def check(found: TopK, truth: Tensor, ks: Sequence[int], within: Tensor | float = 0.0) -> None:
    """The answer is the top-k of `truth` (B, V), in its order; only words whose log-probabilities float32
    rounding cannot tell apart may stand in each other's place. Log-probabilities agree to 1e-4 + `within`."""
    assert found.ids.shape == found.logprobs.shape == (len(truth), max(ks, default=1))
    assert found.ids.dtype == torch.int64
    assert found.logprobs.dtype == torch.float32
    within = torch.as_tensor(within).expand(len(truth))
    for row, k in enumerate(ks):
        n = min(k, int((truth[row] > -torch.inf).sum()))
        ids, logprobs = found.ids[row], found.logprobs[row]
        assert (ids[n:] == -1).all()
        assert logprobs[n:].isneginf().all()
        if n == 0:
            continue
        ids, logprobs = ids[:n], logprobs[:n]
        assert len(set(ids.tolist())) == n
        best = truth[row].sort(descending=True, stable=True)
        mine = truth[row][ids]
        rounding = 4e-7 * (1 + best.values[:n].abs()) * max(1.0, float(best.values[:n].abs().max()) / 16)
        assert ((mine - best.values[:n]).abs() <= rounding).all(), "a word in the wrong place"
        assert (logprobs - mine).abs().max() <= 1e-4 + within[row]
        assert (logprobs[1:] <= logprobs[:-1]).all()
        assert (ids[1:] > ids[:-1])[mine[1:] == mine[:-1]].all(), "a tie goes to the smaller id"


def levels() -> list[str]:
    """The instruction sets of this machine that the extension has; none without the extension."""
    found = []
    for name in ("scalar", "avx2", "avx512"):
        try:
            found.append(best_level(name))
        except KernelError:
            continue
    return found


LEVELS = levels()
needs_extension = pytest.mark.skipif(not LEVELS, reason="the C++ extension is not built here")
