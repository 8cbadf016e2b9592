"""The LSTM of 8-bit weights in C++: on each instruction set the bits of an independent reference in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.bodies.integer_products import IntegerMatrix
from models.bodies.quantized_lstm import QuantizedLSTMBody
from models.config.bodies import LSTMConfig
from models.kernels.cpu.lstm import CpuLSTM
from models.softmax.adaptive_embedding import AdaptiveEmbedding
from tests.support.embedded_lstms import EMBEDDED_LSTMS, SIZE, UNITS, WORDS, embedded_lstm
from tests.support.integer_lstm import random_body, run_body
from tests.support.softmaxes import LEVELS, needs_extension

pytestmark = needs_extension

HALF_A_WORD = 16 * UNITS  # what a word's gates would take in float32


def assert_bits(body: QuantizedLSTMBody, level: str, vectors: Tensor, lengths: list[int]) -> None:
    state = torch.randn_like(body.initial_state(len(vectors))[0])
    found, (after,) = CpuLSTM(body, level)(vectors, torch.tensor(lengths), (state,))
    want, want_after = run_body(body, vectors.numpy(), lengths, state.numpy())
    assert np.array_equal(found.numpy(), want)
    assert np.array_equal(after.numpy(), want_after)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[LSTMConfig, int, int, list[int], int, int]:
    units = draw(st.integers(1, 70))
    projection = draw(st.integers(0, units - 1))
    config = LSTMConfig(
        layers=draw(st.integers(1, 3)), units=units, projection=projection,
        residual=draw(st.booleans()), output_bias=draw(st.booleans()),
    )  # fmt: skip
    out = projection or units
    hidden = out if draw(st.booleans()) else draw(st.integers(1, 40))
    inputs = hidden if draw(st.booleans()) else draw(st.integers(1, 40))
    steps = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, steps), min_size=1, max_size=15))
    return config, hidden, inputs, lengths, steps, draw(st.integers(0, 99))


@pytest.mark.parametrize("level", LEVELS)
@given(shape=shapes())
@settings(max_examples=40, deadline=None)
def test_any_shape(level: str, shape: tuple[LSTMConfig, int, int, list[int], int, int]) -> None:
    config, hidden, inputs, lengths, steps, seed = shape
    torch.manual_seed(seed)
    body = random_body(config, hidden, inputs, seed)
    assert_bits(body, level, torch.randn(len(lengths), steps, inputs) * 3, lengths)


@pytest.mark.parametrize("level", LEVELS)
def test_the_largest_weights_and_activations(level: str) -> None:
    """Sums that 16 bits just hold, and gates where the cells are flat."""
    body = random_body(LSTMConfig(layers=1, units=40, projection=16), 16, 24)
    for module in body.modules():
        if isinstance(module, IntegerMatrix):
            patterns = torch.tensor([[64, 64], [-64, -64], [127, -127], [1, 127], [-128, 127]])
            rows, columns = module.weight.shape
            rows_of = patterns[torch.arange(rows) % len(patterns)]
            module.weight.data = rows_of.repeat(1, columns)[:, :columns].to(torch.int8)
            module.scale.data = torch.logspace(-4, 1, rows)
    torch.manual_seed(0)
    vectors = torch.cat([torch.ones(1, 3, 24), -torch.ones(1, 3, 24), torch.randn(5, 3, 24) * 1e3])
    assert_bits(body, level, vectors, [3] * 7)


@pytest.mark.parametrize("level", LEVELS)
def test_rows_of_zeros_and_of_the_smallest_numbers(level: str) -> None:
    body = random_body(LSTMConfig(layers=1, units=18), 18, 5)
    tops = torch.tensor([0.0, 1e-45, 2.0**-100, 2.0**-99, 1e-20, 1e30])
    assert_bits(body, level, torch.randn(6, 1, 5).clamp(-1, 1) * tops[:, None, None], [1] * 6)


def make_quantized(name: str) -> tuple[QuantizedLSTMBody, AdaptiveEmbedding]:
    float_body, embedding = embedded_lstm(name)
    embedding.in_double = True
    options = EMBEDDED_LSTMS[name]
    config = LSTMConfig(
        layers=options.get("layers", 1),
        units=UNITS,
        projection=options.get("projection", SIZE),
        residual=options.get("residual", False),
    )
    assert float_body.sizes == random_body(config, SIZE, SIZE).sizes
    return random_body(config, SIZE, SIZE), embedding


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", EMBEDDED_LSTMS)
def test_words(name: str, level: str) -> None:
    body, embedding = make_quantized(name)
    torch.manual_seed(0)
    for tabled in (0, 7, 45, WORDS):
        kernel = CpuLSTM(body, level, embedding=embedding, table_bytes=tabled * HALF_A_WORD)
        for rows, steps in ((1, 1), (30, 1), (13, 4)):
            ids = torch.randint(0, WORDS, (rows, steps))
            ids[0, 0], ids[-1, -1] = 0, WORDS - 1
            lengths = torch.randint(1, steps + 1, (rows,))
            lengths[rows // 2] = steps
            state = torch.randn_like(body.initial_state(rows)[0])
            found, (after,) = kernel.encode(ids, lengths, (state,))
            want, want_after = run_body(
                body, embedding(ids).detach().numpy(), lengths.tolist(), state.numpy()
            )
            assert np.array_equal(found.numpy(), want)
            assert np.array_equal(after.numpy(), want_after)
            last, (after_last,) = kernel.encode(ids, lengths, (state,), last=True)
            assert torch.equal(last, found[torch.arange(rows), lengths - 1])
            assert torch.equal(after_last, after)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["tied", "residual"])
def test_a_row_has_the_same_bits_in_every_batch_and_from_every_state(name: str, level: str) -> None:
    body, embedding = make_quantized(name)
    kernel = CpuLSTM(body, level, embedding=embedding, table_bytes=20 * HALF_A_WORD)
    torch.manual_seed(0)
    ids, lengths = torch.randint(0, WORDS, (60, 6)), torch.randint(1, 7, (60,))
    whole, (after,) = kernel.encode(ids, lengths, body.initial_state(60))
    for n in (1, 5, 6, 7, 48, 49):
        some, (some_after,) = kernel.encode(ids[:n], lengths[:n], body.initial_state(n))
        assert torch.equal(some, whole[:n])
        assert torch.equal(some_after, after[:n])
    for i in range(8):
        cut = int(lengths[i]) // 2
        state = body.initial_state(1)
        for piece in (ids[i : i + 1, :cut], ids[i : i + 1, cut : lengths[i]]):
            if piece.shape[1]:
                _, state = kernel.encode(piece, None, state)
        assert torch.equal(state[0][0], after[i])


def test_threads_agree() -> None:
    body, embedding = make_quantized("tied")
    wide = random_body(LSTMConfig(layers=1, units=256, projection=64), 64, 64)
    vectors, lengths = torch.randn(20, 5, 64), torch.arange(20) % 5 + 1
    want = CpuLSTM(wide, threads=1)(vectors, lengths, wide.initial_state(20))
    ids = torch.randint(0, WORDS, (100, 2))
    want_words = CpuLSTM(body, threads=1, embedding=embedding).encode(ids, None, body.initial_state(100))
    for threads in (2, 3):
        found = CpuLSTM(wide, threads=threads)(vectors, lengths, wide.initial_state(20))
        assert torch.equal(found[0], want[0])
        assert torch.equal(found[1][0], want[1][0])
        words = CpuLSTM(body, threads=threads, embedding=embedding).encode(ids, None, body.initial_state(100))
        assert torch.equal(words[0], want_words[0])


def test_as_many_words_in_half_the_memory() -> None:
    body, embedding = make_quantized("tied")
    float_body, _ = embedded_lstm("tied")
    many = 64 << 10  # bytes
    for kind, size in ((float_body, "float32"), (body, "8 bits, integer")):
        kernel = CpuLSTM(kind, embedding=embedding, table_bytes=many)
        assert f"{size} sums, gates of {WORDS} words precomputed" in kernel.description
    kernel = CpuLSTM(body, embedding=embedding, table_bytes=12 * HALF_A_WORD - 1)
    assert "gates of 11 words precomputed" in kernel.description


@pytest.mark.parametrize("name", ["tied", "residual"])
def test_words_that_are_none(name: str) -> None:
    body, embedding = make_quantized(name)
    kernel = CpuLSTM(body, embedding=embedding)
    for id_ in (-1, WORDS):
        with pytest.raises(IndexError, match=f"ids must be in 0..{WORDS - 1}"):
            kernel.encode(torch.tensor([[0, id_]]), None, body.initial_state(1))
