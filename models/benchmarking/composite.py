"""The best that a skilled user of torch composes for an exact top-k, head first.

The head's logits in one product; the k best words of the short-list; a cluster is opened for the rows whose
cluster logit reaches their k-th best; its best words, where one of them is good enough. Four ways to get the
head's logits:

- ``fp32``: exact ids, exact log-probabilities;
- ``bf16`` (eager or by inductor) and ``int8`` (torch's dynamically quantised Linear): a screen.
  The words that may be among the k best, given how far a screened logit may be off, are scored again in
  float32, so the ids are exact too; log Z is the screen's, so the log-probabilities are about right. For bf16
  what they may be off by is proven; for int8 a proof leaves thousands of words, so it is six standard
  deviations of what rounding does, which is to the baseline's favor.

Reads the head in 4, 2 or 1 bytes a weight, the float32 rows of some 100 candidates a row, and the float32
weights of the clusters that are opened. Bound by memory at one row, from some ten on by multiply-adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn

from models.benchmarking.baselines import compiled
from models.softmax.adaptive_softmax import AdaptiveSoftmax

Precision = Literal["fp32", "bf16", "int8"]

SIGMAS: Final = 6
CANDIDATES: Final = 64
"""Words of the short-list, beyond 4 k, that a screen may leave; where it leaves more, float32 answers."""


class Composite:
    """Top-k of one softmax; the weights are read as they are, a screen's are a copy."""

    def __init__(self, softmax: AdaptiveSoftmax, precision: Precision, example: Tensor | None = None) -> None:
        """`example`: hidden rows like those to come; with it inductor compiles the head.

        Raises:
            CompileError: it cannot.
        """
        self._softmax = softmax
        self._words = softmax.head[: softmax.shortlist]
        self._columns = softmax.head[softmax.shortlist :]
        self._largest = float(self._words.norm(dim=1).max())
        self._screen: Callable[[Tensor], Tensor] | None = None
        self._slack: Callable[[Tensor, Tensor], Tensor] = lambda hidden, screened: torch.zeros(len(hidden), 1)
        if precision == "int8":
            self._screen, step = _int8(self._words), float(self._words.abs().max()) / 127.5
            self._slack = lambda hidden, screened: (
                SIGMAS
                * 12**-0.5
                * torch.hypot(hidden.norm(dim=1, keepdim=True) * step, self._largest * _step(hidden))
            )
        elif precision != "fp32":
            weights = self._words.bfloat16()
            layer = nn.Linear(
                weights.shape[1], len(weights), bias=False, dtype=torch.bfloat16
            ).requires_grad_(False)
            layer.weight.copy_(weights)
            product: Callable[[Tensor], Tensor] = layer
            if example is not None:
                product = cast("Callable[[Tensor], Tensor]", compiled(layer, example.bfloat16()))
            self._screen = lambda hidden: product(hidden.bfloat16())
            loss = float((self._words - weights.float()).norm(dim=1).max())
            self._slack = lambda hidden, screened: (
                hidden.norm(dim=1, keepdim=True) * loss
                + (hidden - hidden.bfloat16().float()).norm(dim=1, keepdim=True) * self._largest
                # The product itself is rounded to 8 bits of mantissa.
                + screened.abs().amax(1, keepdim=True) * 2**-8
            )

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(B, k) log-probabilities and ids of the k best words, best first."""
        columns = hidden @ self._columns.T
        values, ids, log_z = self._head(hidden, columns, k)
        for cluster, low in enumerate(self._softmax.cutoffs[:-1]):
            rows = (columns[:, cluster] >= values[:, -1]).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            projected = self._softmax.project(hidden[rows], self._softmax.band_of[cluster])
            logits = self._softmax.cluster_logits(projected, cluster)
            shift = columns[rows, cluster, None] - logits.logsumexp(1, keepdim=True)
            # Few clusters hold one of the k best words, and sorting costs more than the largest element.
            better = (logits.amax(1) + shift[:, 0] >= values[rows, -1]).nonzero()[:, 0]
            if len(better) == 0:
                continue
            rows = rows[better]
            best, at = logits[better].topk(min(k, logits.shape[1]))
            merged, order = torch.cat([values[rows], best + shift[better]], 1).topk(k)
            values[rows], ids[rows] = merged, torch.cat([ids[rows], at + low], 1).gather(1, order)
        return values - log_z, ids

    def _head(self, hidden: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The k best words of the short-list: raw logits and ids (B, k); log Z (B, 1) of the head."""
        if self._screen is None:
            logits = hidden @ self._words.T
            values, ids = logits.topk(k)
            return values, ids, torch.logaddexp(logits.logsumexp(1), columns.logsumexp(1))[:, None]
        screened = self._screen(hidden).float()
        log_z = torch.logaddexp(screened.logsumexp(1), columns.logsumexp(1))[:, None]
        near, at = screened.topk(min(4 * k + CANDIDATES, screened.shape[1]))
        slack = self._slack(hidden, screened)
        if near.shape[1] < screened.shape[1] and bool(
            (near[:, -1:] >= near[:, k - 1, None] - 2 * slack).any()
        ):
            near = hidden @ self._words.T
            values, ids = near.topk(k)
            return values, ids, log_z
        exact = torch.bmm(self._words[at], hidden[:, :, None])[:, :, 0]
        values, order = exact.topk(k)
        return values, at.gather(1, order), log_z


def _int8(words: Tensor) -> Callable[[Tensor], Tensor]:
    layer = nn.Linear(words.shape[1], len(words), bias=False).requires_grad_(False)
    layer.weight.copy_(words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will replace this module by torchao, one day
        quantize: Callable[..., Callable[[Tensor], Tensor]] = torch.ao.quantization.quantize_dynamic
        return quantize(nn.Sequential(layer), {nn.Linear}, dtype=torch.qint8)


def _step(hidden: Tensor) -> Tensor:
    """Of the code of all rows together: 7 bits, from the smallest to the largest element."""
    return (hidden.max() - hidden.min()) / 127
