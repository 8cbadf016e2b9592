"""Where training starts: at the words' own frequencies, so that no step is spent on learning them.

The logit of a word whose vector is zero is its bias. With biases at the logarithms of the frequencies and
vectors that are almost zero a model gives every word its share of the text before the first step; drawn
vectors alone give each the same, and the thousands of rare ones far too much.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.adaptive_softmax import AdaptiveSoftmax
from models.differentiated_softmax import DifferentiatedSoftmax
from models.training.corpus import Counts

SCALE = 0.1
"""Of the output vectors that are drawn: small, so that the biases decide; not 0, from where projections would
not learn."""


@torch.no_grad()
def start_at_frequencies(softmax: AdaptiveSoftmax, counts: Counts, scale: float = SCALE) -> None:
    """Set biases to the log frequencies of words and clusters; make the output vectors `scale` as long.

    Args:
        softmax: with biases in the head and, if it has clusters, in the tails.
        counts: (V,) occurrences; each counts one more, so that no word is impossible.
        scale: of the output vectors.

    Raises:
        ValueError: a layer without biases.
    """
    if softmax.head_bias is None or (softmax.n_clusters and softmax.tail_biases is None):
        raise ValueError("to start at the words' frequencies the output layer needs biases")
    shares = torch.from_numpy((counts + 1.0) / (counts + 1.0).sum())
    sections = torch.split(shares, np.diff((0, *softmax.cutoffs)).tolist())
    masses = torch.stack([part.sum() for part in sections[1:]]) if softmax.n_clusters else shares[:0]
    softmax.head_bias.copy_(torch.cat([sections[0], masses]).log())
    within = torch.cat([(part / part.sum()).log() for part in sections[1:]] or [shares[:0]])
    at = 0
    for bias in softmax.tail_biases or ():
        bias.copy_(within[at : at + len(bias)])
        at += len(bias)
    for vectors in _vectors(softmax):
        vectors.mul_(scale)


def _vectors(softmax: AdaptiveSoftmax) -> list[Tensor]:
    others = softmax.band_tables if isinstance(softmax, DifferentiatedSoftmax) else softmax.tails
    clusters = [] if softmax.clusters is None else [softmax.clusters]
    return [softmax.head, *clusters, *others]
