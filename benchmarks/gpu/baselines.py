"""What ours is compared with on a GPU: the best that a skilled user of torch has for the same answers.

Every baseline gets the same hidden rows. ``graph`` means captured in a CUDA graph, which takes away torch's
launch times; what reads sizes back from the device cannot be captured.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.softmax.adaptive_softmax import AdaptiveSoftmax

Call = Callable[[], object]


def cluster_weights(softmax: AdaptiveSoftmax) -> list[Tensor]:
    """(words, width) of each cluster."""
    sizes = list(zip(softmax.band_of, softmax.cluster_sizes, strict=True))
    return [
        part
        for band in range(len(softmax.tails))
        for part in torch.split(softmax.tail_weight(band), [size for one, size in sizes if one == band])
    ]


class Casted:
    """The weights of a softmax as one type, with torch's ways to ask them for words."""

    def __init__(self, softmax: AdaptiveSoftmax, dtype: torch.dtype) -> None:
        self.shortlist, self.cutoffs, self.band_of = softmax.shortlist, softmax.cutoffs, softmax.band_of
        self.head = softmax.head.to(dtype)
        self.projections = [weight.to(dtype) for weight in softmax.projections]
        self.tails = [weight.to(dtype) for weight in cluster_weights(softmax)]

    def logits(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of the head, and of each cluster, all clusters opened."""
        projected = [F.linear(hidden, weight) for weight in self.projections]
        tails = [F.linear(projected[band], w) for band, w in zip(self.band_of, self.tails, strict=True)]
        return F.linear(hidden, self.head), tails

    def log_prob_topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(B, V) log-probabilities, as torch's module makes them, then topk."""
        head, tails = self.logits(hidden)
        out = head.new_empty(len(hidden), self.cutoffs[-1])
        head = head.log_softmax(1)
        out[:, : self.shortlist] = head[:, : self.shortlist]
        for c, ((low, high), tail) in enumerate(zip(pairwise(self.cutoffs), tails, strict=True)):
            out[:, low:high] = tail.log_softmax(1) + head[:, self.shortlist + c, None]
        values, ids = out.topk(k)
        return values, ids

    def composite(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Without (B, V) log-probabilities: topk of each part's raw logits, then of the parts' best words."""
        head, tails = self.logits(hidden)
        best, at = head[:, : self.shortlist].topk(min(k, self.shortlist))
        values, ids = [best.float()], [at]
        for c, (low, tail) in enumerate(zip(self.cutoffs, tails, strict=False)):
            best, at = tail.topk(min(k, tail.shape[1]))
            shift = head[:, self.shortlist + c].float() - torch.logsumexp(tail.float(), 1)
            values.append(best.float() + shift[:, None])
            ids.append(at + low)
        best, at = torch.cat(values, 1).topk(k)
        return best - torch.logsumexp(head.float(), 1, keepdim=True), torch.cat(ids, 1).gather(1, at)


def topk_baselines(
    softmax: AdaptiveSoftmax,
    full: Tensor | None,
    hidden: Tensor,
    k: int,
    dtype: torch.dtype,
    everything: bool = False,
) -> dict[str, tuple[Call, bool]]:
    """Name -> what to time, and whether a CUDA graph can hold it.

    `full` (V, d) is a full softmax's matrix. `dtype`: of those that are not of float32. `everything`: those
    too that take minutes to compile.
    """
    half, single = Casted(softmax, dtype), Casted(softmax, torch.float32)
    rows, hidden = hidden.float(), hidden.to(dtype)
    calls: dict[str, tuple[Call, bool]] = {
        "adaptive_log_prob_topk_fp32": (lambda: single.log_prob_topk(rows, k), True),
        "adaptive_log_prob_topk": (lambda: half.log_prob_topk(hidden, k), True),
        "composite": (lambda: half.composite(hidden, k), True),
        "head_first_reference": (lambda: softmax.topk(rows, k), False),
    }
    if full is not None:
        wide = full.float() if full.numel() < 1 << 29 else None
        calls["full_softmax_topk"] = (lambda: F.linear(hidden, full).log_softmax(1).topk(k), True)
        if wide is not None:
            calls["full_softmax_topk_fp32"] = (lambda: F.linear(rows, wide).log_softmax(1).topk(k), True)
    if everything:
        compiled = torch.compile(half.composite, mode="max-autotune-no-cudagraphs", dynamic=False)
        calls["composite_compiled"] = (lambda: compiled(hidden, k), True)
    return calls


def score_baselines(
    softmax: AdaptiveSoftmax, full: Tensor | None, hidden: Tensor, targets: Tensor
) -> dict[str, Call]:
    """Name -> what to time; `forward` is `nn.AdaptiveLogSoftmaxWithLoss`'s own."""
    single, half = _module(softmax), _module(softmax)
    half = half.to(hidden.dtype)
    rows = hidden.float()
    calls: dict[str, Call] = {
        "module_forward_fp32": lambda: single(rows, targets).output,
        "module_forward": lambda: half(hidden, targets).output,
        "reference_fp32": lambda: softmax.target_logprobs(rows, targets),
    }
    if full is not None:
        calls["full_softmax_cross_entropy_chunked"] = lambda: [
            F.cross_entropy(F.linear(some, full).float(), t, reduction="none")
            for some, t in zip(torch.split(hidden, 512), torch.split(targets, 512), strict=True)
        ]
    return calls


def _module(softmax: AdaptiveSoftmax) -> nn.AdaptiveLogSoftmaxWithLoss:
    d, words = softmax.head.shape[1], softmax.cutoffs[-1]
    with torch.device(softmax.head.device):
        module = nn.AdaptiveLogSoftmaxWithLoss(d, words, list(softmax.cutoffs[:-1]), div_value=1.0)
    module.requires_grad_(False)
    module.head.weight.copy_(softmax.head)
    for band, pair, tail in zip(softmax.band_of, module.tail, cluster_weights(softmax), strict=True):
        projection, words_of = pair.children()
        projection.weight = nn.Parameter(softmax.projections[band].clone(), requires_grad=False)
        words_of.weight = nn.Parameter(tail.clone(), requires_grad=False)
    return module
