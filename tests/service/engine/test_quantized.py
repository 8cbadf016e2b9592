"""An engine with a model of 8-bit weights: the same bits in every batch and after every cached state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.bundle import Bundle
from models.training.quantization import quantize
from service.contract.messages import Score
from tests.support.engines import compute
from tests.support.mixture import mixture
from tests.support.spy import Make, running_engines


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Bundle:
    path = tmp_path_factory.mktemp("quantized")
    Bundle.save(path, quantize(bundle.model), bundle.vocabulary, dtype=torch.float32)
    return Bundle.load(path, "cpu")


@pytest.fixture
def make_quantized(quantized: Bundle) -> Iterator[Make]:
    yield from running_engines(quantized)


@pytest.mark.parametrize("cache", [0, 2**20])
@pytest.mark.parametrize("budget", [7, 4096])
def test_answers_are_those_of_the_model_alone(
    make_quantized: Make, quantized: Bundle, cache: int, budget: int
) -> None:
    watched = make_quantized(state_cache_bytes=cache, max_batch_tokens=budget)
    messages = mixture(budget)
    for _ in range(2):  # The second time, what can be cached is.
        for message, answer in zip(messages, watched.ask(*messages), strict=True):
            if isinstance(message, Score) and not message.targets:
                want: tuple[float, ...] = ()
            else:
                want = compute(quantized, message).logprobs
            assert answer.logprobs == want
