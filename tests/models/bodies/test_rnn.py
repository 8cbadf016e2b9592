"""GRU and Elman bodies against plain cells, continued from states and with rows of mixed lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from models.bodies.rnn import RNNBody
from models.config.bodies import RNNConfig
from models.config.model import ModelConfig
from models.language_model import LanguageModel
from tests.support import bodies
from tests.support.tiny import tiny_config

INPUT, UNITS = bodies.RNN_INPUT, bodies.RNN_UNITS

configs = pytest.mark.parametrize("config", bodies.RNNS.values(), ids=bodies.RNNS.keys())


def random_vectors(rows: int, steps: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, steps, INPUT, generator=torch.Generator().manual_seed(seed))


def model_config(body: RNNConfig) -> ModelConfig:
    return ModelConfig.model_validate({**tiny_config().model_dump(), "body": body.model_dump()})


def full(rows: int, steps: int) -> Tensor:
    return torch.full((rows,), steps, dtype=torch.int64)


def plain(body: RNNBody, config: RNNConfig, vectors: Tensor) -> Tensor:
    """(T, units) of one sequence (T, input), a step at a time."""
    rows, weights = list(vectors), dict(body.rnn.named_parameters())
    for layer in range(config.layers):
        w_ih, w_hh, b_ih, b_hh = (
            weights[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, out = torch.zeros(UNITS), []
        for x in rows:
            seen, kept = w_ih @ x + b_ih, w_hh @ h + b_hh
            if config.type == "gru":
                r, z, n = seen.unflatten(0, (3, UNITS))
                r_kept, z_kept, n_kept = kept.unflatten(0, (3, UNITS))
                r, z = (r + r_kept).sigmoid(), (z + z_kept).sigmoid()
                n = (n + r * n_kept).tanh()
                h = (1 - z) * n + z * h
            else:
                h = (seen + kept).tanh() if config.type == "rnn_tanh" else (seen + kept).relu()
            out.append(h)
        rows = out
    return torch.stack(rows)


@configs
def test_it_is_what_it_says(config: RNNConfig) -> None:
    body, vectors = bodies.rnn(config), random_vectors(2, 7)
    hidden, _ = body(vectors, full(2, 7), body.initial_state(2))
    wanted = torch.stack([plain(body, config, row) for row in vectors])
    torch.testing.assert_close(hidden, wanted, atol=1e-5, rtol=1e-5)


@configs
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 6), max_size=2, unique=True).map(sorted))
def test_a_prefix_is_continued_from_its_state(config: RNNConfig, cuts: list[int]) -> None:
    body, vectors = bodies.rnn(config), random_vectors(3, 7)
    wanted, end = body(vectors, None, body.initial_state(3))
    hidden, state = bodies.in_pieces(body, vectors, cuts)
    torch.testing.assert_close(hidden, wanted)
    torch.testing.assert_close(state, end)


@configs
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_rows_of_mixed_lengths_are_as_if_alone(config: RNNConfig, lengths: list[int]) -> None:
    body = bodies.rnn(config)
    steps = max(lengths) + 1  # every row is padded
    vectors = random_vectors(len(lengths), steps)
    start = tuple(torch.randn_like(part) for part in body.initial_state(len(lengths)))
    hidden, state = body(vectors, torch.tensor(lengths), start)
    assert hidden.shape == (len(lengths), steps, UNITS)
    rows = zip(lengths, body.split_state(start), body.split_state(state), strict=True)
    for i, (length, own_start, own_end) in enumerate(rows):
        alone, end = body(vectors[i : i + 1, :length], full(1, length), body.stack_states([own_start]))
        torch.testing.assert_close(hidden[i, :length], alone[0])
        assert not hidden[i, length:].any()
        torch.testing.assert_close(own_end, body.split_state(end)[0])


@configs
def test_split_states_own_their_memory(config: RNNConfig) -> None:
    body = bodies.rnn(config)
    _, state = body(random_vectors(3, 4), full(3, 4), body.initial_state(3))
    (own,) = body.split_state(state)[1]
    assert own.untyped_storage().nbytes() == own.nbytes == body.state_bytes(4)
    before = own.clone()
    state[0].zero_()
    assert torch.equal(own, before)
    assert own.any()


@configs
def test_a_model_has_it(config: RNNConfig) -> None:
    """Through `LanguageModel`: of the hidden size, from vectors of the embedding's."""
    size = tiny_config().hidden_size
    model = LanguageModel(model_config(config.model_copy(update={"units": size}))).eval()
    assert model.config.architecture == config.type
    ids = torch.randint(0, 280, (2, 5))
    hidden, state = model.encode(ids, torch.tensor([5, 3]), model.initial_state(2))
    assert hidden.shape == (2, 5, size)
    last, again = model.encode_last(ids, torch.tensor([5, 3]), model.initial_state(2))
    torch.testing.assert_close(last, torch.stack([hidden[0, 4], hidden[1, 2]]))
    torch.testing.assert_close(again, state)


def test_units_that_are_not_the_hidden_size() -> None:
    with pytest.raises(ValidationError, match=r"the body's units \(9\) must be hidden_size"):
        model_config(RNNConfig(type="gru", layers=1, units=9))
