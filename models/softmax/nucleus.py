"""Drawing from the nucleus: the fewest most probable words that together have the probability `top_p`.

Holtzman et al., "The curious case of neural text degeneration", ICLR 2020, section 3.1. Where the
distribution is the model's own, an exact top-k finds the nucleus and opens the clusters that it needs. Where
it is tempered or biased its total is needed, so all clusters are opened and (V,) weights are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import TopK

FIRST_NUCLEUS = 64
"""Words looked at first; four times as many until their probabilities suffice."""


def draw_from_nucleus(
    softmax: AdaptiveSoftmax,
    hidden: Tensor,
    uniform: float,
    top_p: float,
    temperature: float,
    bias: Mapping[int, float],
    topk: Callable[[Tensor, int], TopK],
) -> tuple[int, float, Tensor]:
    """A word after one row `hidden` (1, d), its log-probability, and (n,) bool, the clusters opened.

    Args:
        softmax: the output layer.
        hidden: (1, d).
        uniform: in [0, 1): where in the nucleus the word is.
        top_p, temperature, bias: as `models.softmax.sampling.Draw` has them.
        topk: of the output layer, on one row.
    """
    if temperature == 1 and not bias:
        excluded = softmax.excluded.nonzero()[:, 0]
        lost = softmax.target_logprobs(hidden.expand(len(excluded), -1), excluded).exp().sum()
        wanted = top_p * (1 - float(lost))
        available = int(softmax.answerable.sum())
        k = min(FIRST_NUCLEUS, available)
        while True:
            found = topk(hidden, k)
            logprobs = found.logprobs[0]
            if k == available or float(logprobs.exp().double().sum()) >= wanted:
                break
            k = min(4 * k, available)
        ids, weights, expanded = found.ids[0], logprobs.double().exp(), found.expanded[0]
    else:
        all_words = softmax.log_prob(hidden)[0]
        biased = all_words.double().masked_fill(softmax.excluded, -torch.inf)
        for word, nats in bias.items():
            biased[word] += nats
        tempered = (biased / temperature).softmax(0)
        weights, ids = tempered.sort(descending=True, stable=True)
        wanted, logprobs = top_p, all_words[ids]
        expanded = torch.ones(softmax.n_clusters, dtype=torch.bool, device=hidden.device)
    sums = weights.cumsum(0)
    last = min(
        int(torch.searchsorted(sums, torch.tensor(wanted, device=sums.device).double())), len(sums) - 1
    )
    point = torch.tensor(uniform, device=sums.device).double() * sums[last]
    chosen = min(int(torch.searchsorted(sums, point, right=True)), last)
    return int(ids[chosen]), float(logprobs[chosen]), expanded
