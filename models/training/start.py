"""Where training starts: at the words' own frequencies, so that no step is spent on learning them.

Hidden rows are short at first, and so a word's logit is little more than its bias. With biases at the
logarithms of the frequencies a model gives each word about its share of the text before the first step;
without, it gives each the same, and thousands of rare ones far too much.
"""

from __future__ import annotations

import numpy as np
import torch

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.corpus import Counts


@torch.no_grad()
def start_at_frequencies(softmax: AdaptiveSoftmax, counts: Counts) -> None:
    """Set the biases to the log frequencies of words and clusters.

    Args:
        softmax: with biases in the head and, if it has clusters, in the tails.
        counts: (V,) occurrences; each counts one more, so that no word is impossible.

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
