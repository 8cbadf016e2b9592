"""The sampled loss: on average the full one, and an estimate of it from few words."""

from __future__ import annotations

import numpy as np
import torch

from models.config.bodies import LSTMConfig
from models.config.model import ModelConfig
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.sampled import SampledLoss
from tests.support.layers import random_rows

COUNTS = 1000 // np.arange(1, 51)


def layer() -> AdaptiveSoftmax:
    torch.manual_seed(0)
    body = LSTMConfig(layers=1, units=1)
    return AdaptiveSoftmax(ModelConfig(vocabulary_size=50, hidden_size=8, cutoffs=(50,), body=body))


def test_many_samples_give_the_full_loss() -> None:
    softmax, hidden, targets = layer(), random_rows(20, 8, 1), torch.arange(20) * 2
    full = -softmax.target_logprobs(hidden, targets)
    loss = SampledLoss(COUNTS, 200_000, torch.device("cpu"))
    torch.testing.assert_close(loss(softmax, hidden, targets, loss.draw(0)), full, atol=0.03, rtol=0)


def test_the_sum_over_words_is_right_on_average() -> None:
    softmax, hidden, targets = layer(), random_rows(6, 8, 2), torch.tensor([0, 1, 5, 10, 20, 49])
    loss = SampledLoss(COUNTS, 20, torch.device("cpu"))
    own = softmax.head_logits(hidden).gather(1, targets[:, None])[:, 0]
    sums = [(loss(softmax, hidden, targets, loss.draw(step)) + own).exp() for step in range(4000)]
    expected = softmax.head_logits(hidden).exp().sum(1)
    torch.testing.assert_close(torch.stack(sums).mean(0), expected, rtol=0.05, atol=0)


def test_a_step_draws_the_same_words_again_by_frequency() -> None:
    loss = SampledLoss(COUNTS, 30_000, torch.device("cpu"))
    assert torch.equal(loss.draw(3), loss.draw(3))
    assert not torch.equal(loss.draw(3), loss.draw(4))
    shares = torch.bincount(loss.draw(1), minlength=50) / 30_000
    torch.testing.assert_close(shares, torch.from_numpy(COUNTS / COUNTS.sum()).float(), atol=0.01, rtol=0)


def test_gradients_reach_row_and_words() -> None:
    softmax, hidden = layer(), random_rows(4, 8, 1).requires_grad_()
    loss = SampledLoss(COUNTS, 10, torch.device("cpu"))
    loss(softmax, hidden, torch.tensor([40, 41, 42, 43]), loss.draw(0)).mean().backward()
    assert hidden.grad is not None
    assert softmax.head.grad is not None
    assert bool((softmax.head.grad[40:44].abs().sum(1) > 0).all())
