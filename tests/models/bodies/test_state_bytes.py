"""What a body says that its states take is what they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.support import bodies

WORDS = 30

BODIES: dict[str, tuple[Callable[[], Any], int]] = {
    **{
        f"LSTM, {name}": (partial(bodies.lstm, config), bodies.LSTM_HIDDEN)
        for name, config in bodies.LSTMS.items()
    },
    **{name: (partial(bodies.rnn, config), bodies.RNN_INPUT) for name, config in bodies.RNNS.items()},
    **{
        f"transformer, {name}": (make, bodies.TRANSFORMER_UNITS) for name, make in bodies.TRANSFORMERS.items()
    },
    **{
        f"Transformer-XL, {name}": (partial(bodies.transformer_xl, **reach), bodies.XL_HIDDEN)
        for name, reach in bodies.XL_REACHES.items()
    },
    "gated convolution": (
        partial(bodies.gated_convolution, bodies.CONVOLUTIONS, 10),
        bodies.CONVOLUTION_INPUTS,
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
