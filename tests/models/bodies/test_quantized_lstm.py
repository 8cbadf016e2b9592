"""The LSTM body with weights of 8 bits, by torch: the bits of numpy, and near the float one."""

from __future__ import annotations

import pytest
import torch

from models.bodies.lstm import LSTMBody
from models.bodies.quantized_lstm import quantized
from models.config.bodies import LSTMConfig
from tests.support.bodies import LSTM_HIDDEN, LSTMS, lstm
from tests.support.integer_lstm import random_body, run_body

CONFIGS = {**LSTMS, "output bias": LSTMConfig(layers=1, units=9, output_bias=True)}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_reference(name: str) -> None:
    body = random_body(CONFIGS[name], LSTM_HIDDEN, LSTM_HIDDEN)
    torch.manual_seed(0)
    vectors, lengths = torch.randn(5, 4, LSTM_HIDDEN), [4, 1, 3, 4, 2]
    state = torch.randn_like(body.initial_state(5)[0])
    found, (after,) = body(vectors, torch.tensor(lengths), (state,))
    want, want_after = run_body(body, vectors.numpy(), lengths, state.numpy())
    assert torch.equal(found, torch.from_numpy(want))
    assert torch.equal(after, torch.from_numpy(want_after))


@pytest.mark.parametrize("name", CONFIGS)
def test_is_near_the_float_body(name: str) -> None:
    config = CONFIGS[name]
    torch.manual_seed(0)
    body = LSTMBody(config, LSTM_HIDDEN).eval().requires_grad_(False)
    if name in LSTMS:
        body = lstm(config)
    made = quantized(body, config, LSTM_HIDDEN, LSTM_HIDDEN)
    vectors = torch.randn(50, 5, LSTM_HIDDEN)
    want, _ = body(vectors, None, body.initial_state(50))
    found, _ = made(vectors, None, made.initial_state(50))
    error = (found - want).square().mean().sqrt() / want.square().mean().sqrt()
    assert 0 < error < 0.03


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_has_the_same_bits_alone_and_in_pieces(name: str) -> None:
    body = random_body(CONFIGS[name], LSTM_HIDDEN, LSTM_HIDDEN)
    torch.manual_seed(0)
    vectors, lengths = torch.randn(7, 6, LSTM_HIDDEN), torch.tensor([6, 2, 5, 1, 6, 3, 4])
    whole, (after,) = body(vectors, lengths, body.initial_state(7))
    for i, length in enumerate(lengths.tolist()):
        state = body.initial_state(1)
        for t in range(length):
            step, state = body(vectors[i : i + 1, t : t + 1], None, state)
            assert torch.equal(step[0, 0], whole[i, t])
        assert torch.equal(state[0][0], after[i])


def test_states_are_float32_and_as_large_as_the_float_body_s() -> None:
    config = LSTMS["projection"]
    body, made = lstm(config), random_body(config, LSTM_HIDDEN, LSTM_HIDDEN)
    assert made.initial_state(2)[0].dtype == torch.float32
    assert made.initial_state(2)[0].shape == body.initial_state(2)[0].shape
    assert made.state_bytes(9) == body.state_bytes(9)
