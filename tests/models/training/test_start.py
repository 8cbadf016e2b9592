"""Starting at the words' frequencies: every layer gives each word its share before the first step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.kernels.choice import choose
from models.language_model import LanguageModel
from models.training.layer import Layer
from models.training.output_layers import layer_fields
from models.training.start import start_at_frequencies
from tests.support.layers import random_rows

COUNTS = 1000 // np.arange(1, 61)


def model(layer: Layer, biases: bool = True) -> LanguageModel:
    torch.manual_seed(1)
    bands = (Band(clusters=1, width=6), Band(clusters=1, width=3))
    fields = layer_fields(layer, COUNTS, 16, (20, 40, 60), bands)
    tails = biases and len(fields["cutoffs"]) > 1
    config = ModelConfig(
        vocabulary_size=60, hidden_size=16, body=LSTMConfig(layers=1, units=9), head_bias=biases,
        tail_bias=tails, **fields,
    )  # fmt: skip
    return LanguageModel(config).requires_grad_(False)


@pytest.mark.parametrize("layer", Layer)
def test_words_have_their_share(layer: Layer) -> None:
    softmax = model(layer).softmax
    start_at_frequencies(softmax, COUNTS)
    expected = torch.from_numpy((COUNTS + 1) / (COUNTS + 1).sum()).float().log().expand(5, -1)
    torch.testing.assert_close(softmax.log_prob(torch.zeros(5, 16)), expected)
    near = softmax.log_prob(random_rows(5, 16, 2) * 0.01)
    torch.testing.assert_close(near, expected, atol=0.2, rtol=0)


@pytest.mark.parametrize("layer", Layer)
def test_biases_learn(layer: Layer) -> None:
    made = model(layer)
    start_at_frequencies(made.softmax, COUNTS)
    made.requires_grad_(True)
    loss = -made.softmax.target_logprobs(random_rows(60, 16, 3), torch.arange(60)).mean()
    torch.autograd.backward(loss)
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in made.softmax.parameters())


@pytest.mark.parametrize("layer", Layer)
def test_the_kernel_that_serves_adds_biases(layer: Layer) -> None:
    softmax, hidden = model(layer).softmax, random_rows(9, 16, 6)
    start_at_frequencies(softmax, COUNTS)
    found, expected = choose(softmax, "cpu").exact.topk(hidden, 7), softmax.topk(hidden, 7)
    torch.testing.assert_close(found.ids, expected.ids)
    torch.testing.assert_close(found.logprobs, softmax.log_prob(hidden).topk(7).values, atol=1e-4, rtol=1e-5)


def test_without_biases_there_is_nothing_to_set() -> None:
    with pytest.raises(ValueError, match="needs biases"):
        start_at_frequencies(model(Layer.ADAPTIVE, biases=False).softmax, COUNTS)
