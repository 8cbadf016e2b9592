"""What a body says that its states take is what they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.models.bodies import test_gated_convolution, test_rnn, test_transformer, test_transformer_xl
from tests.models.bodies.test_lstm import CONFIGS, HIDDEN, build

WORDS = 30

BODIES: dict[str, tuple[Callable[[], Any], int]] = {
    **{f"LSTM, {name}": (partial(build, config), HIDDEN) for name, config in CONFIGS.items()},
    **{name: (partial(test_rnn.build, config), test_rnn.INPUT) for name, config in test_rnn.CONFIGS.items()},
    **{
        f"transformer, {name}": (make, test_transformer.UNITS)
        for name, make in test_transformer.VARIANTS.items()
    },
    **{
        f"Transformer-XL, {name}": (partial(test_transformer_xl.make, **reach), test_transformer_xl.D)
        for name, reach in test_transformer_xl.REACHES.items()
    },
    "gated convolution": (
        partial(test_gated_convolution.body, test_gated_convolution.LAYERS, 10),
        test_gated_convolution.INPUTS,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_most_bytes_of_a_state(name: str) -> None:
    make, size = BODIES[name]
    body, most = make(), 0
    state = body.initial_state(1)
    for words in range(1, WORDS + 1):
        _, state = body(torch.randn(1, 1, size), None, state)
        (row,) = body.split_state(state)
        most = max(most, sum(tensor.nbytes for tensor in row))
        assert body.state_bytes(words) == most, words
