"""The LSTM body against a plain cell, continued from states and with rows of mixed lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.bodies.lstm import LSTMBody
from models.config.bodies import LSTMConfig
from tests.support.bodies import LSTM_HIDDEN, LSTMS, in_pieces, lstm

configs = pytest.mark.parametrize("config", LSTMS.values(), ids=LSTMS.keys())


def random_vectors(rows: int, steps: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, steps, LSTM_HIDDEN, generator=torch.Generator().manual_seed(seed))


def full(rows: int, steps: int) -> Tensor:
    return torch.full((rows,), steps, dtype=torch.int64)


def plain(body: LSTMBody, config: LSTMConfig, vectors: Tensor) -> Tensor:
    """(T, d) of one sequence (T, d), a step at a time (Hochreiter & Schmidhuber; Sak et al. 2014)."""
    rows = list(vectors)
    for layer in body.layers:
        h = torch.zeros(config.projection or config.units)
        c = torch.zeros(config.units)
        out = []
        for x in rows:
            gates = layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
            enter, forget, cell, leave = gates.chunk(4)
            c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
            h = leave.sigmoid() * c.tanh()
            if config.projection:
                h = layer.weight_hr_l0 @ h
            out.append(x + h if config.residual and len(x) == len(h) else h)
        rows = out
    hidden = torch.stack(rows)
    return hidden if body.to_hidden is None else hidden @ body.to_hidden.weight.T


@configs
def test_it_is_an_lstm(config: LSTMConfig) -> None:
    body, vectors = lstm(config), random_vectors(2, 7)
    hidden, _ = body(vectors, full(2, 7), body.initial_state(2))
    wanted = torch.stack([plain(body, config, row) for row in vectors])
    torch.testing.assert_close(hidden, wanted, atol=1e-5, rtol=1e-5)


@configs
def test_no_lengths_means_full_rows(config: LSTMConfig) -> None:
    body, vectors = lstm(config), random_vectors(2, 5)
    with_lengths = body(vectors, full(2, 5), body.initial_state(2))
    without = body(vectors, None, body.initial_state(2))
    assert torch.equal(with_lengths[0], without[0])
    assert all(map(torch.equal, with_lengths[1], without[1]))


@configs
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 6), max_size=2, unique=True).map(sorted))
def test_a_prefix_is_continued_from_its_state(config: LSTMConfig, cuts: list[int]) -> None:
    body, vectors = lstm(config), random_vectors(3, 7)
    wanted, end = body(vectors, full(3, 7), body.initial_state(3))
    hidden, state = in_pieces(body, vectors, cuts)
    torch.testing.assert_close(hidden, wanted)
    torch.testing.assert_close(state, end)


@configs
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_rows_of_mixed_lengths_are_as_if_alone(config: LSTMConfig, lengths: list[int]) -> None:
    body = lstm(config)
    steps = max(lengths) + 1  # every row is padded
    vectors = random_vectors(len(lengths), steps)
    start = tuple(torch.randn_like(part) for part in body.initial_state(len(lengths)))
    hidden, state = body(vectors, torch.tensor(lengths), start)
    assert hidden.shape == (len(lengths), steps, LSTM_HIDDEN)
    for i, (length, own_start) in enumerate(zip(lengths, body.split_state(start), strict=True)):
        alone, own_state = body(vectors[i : i + 1, :length], full(1, length), body.stack_states([own_start]))
        torch.testing.assert_close(hidden[i, :length], alone[0])
        assert not hidden[i, length:].any()
        torch.testing.assert_close(tuple(part[i] for part in state), tuple(part[0] for part in own_state))


@configs
def test_split_states_own_their_memory(config: LSTMConfig) -> None:
    body = lstm(config)
    _, state = body(random_vectors(3, 4), full(3, 4), body.initial_state(3))
    rows = body.split_state(state)
    assert len(rows) == 3
    assert all(map(torch.equal, body.stack_states(rows), state))
    (own,) = rows[1]
    assert own.untyped_storage().nbytes() == own.nbytes == sum(part[1].nbytes for part in state)
    before = own.clone()
    for part in state:
        part.zero_()
    assert torch.equal(own, before)
    assert own.any()


@configs
def test_the_start_is_zero_and_its_sizes_are_those_of_every_state(config: LSTMConfig) -> None:
    body = lstm(config)
    start = body.initial_state(4)
    _, after = body(random_vectors(4, 1), full(4, 1), start)
    assert not any(part.any() for part in start)
    assert [part.shape for part in start] == [part.shape for part in after]
    assert [part.shape for part in body.initial_state(0)] == [(0, sum(body.sizes))]


def test_a_fresh_body_remembers() -> None:
    body = LSTMBody(LSTMConfig(layers=2, units=9, projection=6), LSTM_HIDDEN)
    for layer in body.layers:
        bias = layer.bias_ih_l0 + layer.bias_hh_l0
        assert bias.chunk(4)[1].tolist() == [1.0] * 9
        assert bias.sum() == 9


def test_gradients_flow_through_every_weight() -> None:
    body = LSTMBody(LSTMConfig(layers=2, units=9, projection=4, residual=True), LSTM_HIDDEN)
    hidden, _ = body(random_vectors(2, 3), None, body.initial_state(2))
    hidden.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in body.parameters())
