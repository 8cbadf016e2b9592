"""What ours is timed beside: torch's own module and a full softmax, in float32, bfloat16 and compiled.

They compute every word's logarithm and sort: their time does not depend on what a search would open. `Full`
has random weights, because no adaptive model has any for it; its time does not depend on them.

`module.log_prob` reads all weights, writes (B, V) log-probabilities and reads them again to sort; a full
softmax reads V x d weights. Bound by memory at one row, by multiply-adds from some ten on.
"""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.softmax.adaptive_softmax import AdaptiveSoftmax

Run = Callable[[Tensor, int], object]
"""Hidden rows (B, d) and k -> an object that holds the answer."""

MOST_COMPILED_BYTES: Final = 2 << 30
"""Inductor keeps a packed copy of the weights beside the original, and another while it makes it."""


class CompileError(Exception):
    """Why there is no compiled baseline, in one line."""


def torch_module(softmax: AdaptiveSoftmax) -> nn.AdaptiveLogSoftmaxWithLoss:
    """torch's own module with the weights of `softmax`; each tail has its band's projection."""
    cutoffs = softmax.cutoffs
    with torch.device("meta"):  # its own first weights would be larger than all of ours
        module = nn.AdaptiveLogSoftmaxWithLoss(
            softmax.hidden_size, cutoffs[-1], list(cutoffs[:-1]), 1.0, head_bias=softmax.head_bias is not None
        )
    module.head.weight = nn.Parameter(softmax.head_weight(), requires_grad=False)
    if softmax.head_bias is not None:
        module.head.bias = nn.Parameter(softmax.head_bias, requires_grad=False)
    starts = dict.fromkeys(range(len(softmax.tails)), 0)
    for cluster, (low, high) in enumerate(pairwise(cutoffs)):
        band = softmax.band_of[cluster]
        words = softmax.tail_weight(band)[starts[band] : starts[band] + high - low]
        starts[band] += high - low
        projection, tail = module.tail[cluster].children()
        projection.weight = nn.Parameter(softmax.projection_weight(band), requires_grad=False)
        tail.weight = nn.Parameter(words, requires_grad=False)
    return module.eval()


def adaptive(module: nn.AdaptiveLogSoftmaxWithLoss) -> Run:
    """`log_prob` of the module, then topk; in the type of its weights."""
    dtype = module.head.weight.dtype
    return lambda hidden, k: module.log_prob(hidden.to(dtype)).topk(k)


def in_bfloat16(module: nn.AdaptiveLogSoftmaxWithLoss) -> nn.AdaptiveLogSoftmaxWithLoss:
    """A copy of the module; its log-probabilities are off by some hundredths, so the ids are not exact."""
    return copy.deepcopy(module).bfloat16()


class Full(nn.Module):
    """A full softmax of V words on rows of d dimensions."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        weight = torch.randn(words, width, generator=generator).mul_(width**-0.5)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, V) log-probabilities."""
        return F.linear(hidden.to(self.weight.dtype), self.weight).log_softmax(1)

    def topk(self, hidden: Tensor, k: int) -> object:
        """Of the log-probabilities."""
        return self(hidden).topk(k)

    @property
    def nbytes(self) -> int:
        """Of its weights."""
        return self.weight.numel() * self.weight.element_size()


def compile_topk(logprobs: Callable[[Tensor], Tensor], example: Tensor, k: int) -> Run:
    """`logprobs` and topk in one graph by inductor, for rows like `example` and this k.

    Raises:
        CompileError: there is no C++ compiler, or inductor fails.
    """
    run = compiled(lambda hidden: logprobs(hidden).topk(k), example)
    return lambda hidden, k: run(hidden)


def compiled(call: Callable[[Tensor], object], example: Tensor) -> Callable[[Tensor], object]:
    """`call` by inductor: max-autotune, shapes fixed, weights as constants that are packed once.

    Raises:
        CompileError: there is no C++ compiler, or inductor fails.
    """
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise CompileError("inductor needs a C++ compiler, which this machine lacks")
    from torch._inductor import config

    run = torch.compile(call, mode="max-autotune-no-cudagraphs", dynamic=False)
    try:
        # Its report on its choices is for its developers.
        with (
            config.patch(freezing=True),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            run(example)
    except Exception as error:  # a compiler may raise anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CompileError(f"inductor failed: {reason[0][:200]}") from error
    return run
