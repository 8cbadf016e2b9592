"""The transformer body on its own: attention, positions, state, window."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.bodies.base import RowState
from models.bodies.past import BLOCK, alike
from models.bodies.transformer import TransformerBody, _sinusoids
from tests.support.bodies import TRANSFORMER_UNITS, TRANSFORMERS, assert_padding_is_nothing, transformer

LENGTHS = torch.tensor([30, 11, 20, 1])


@pytest.fixture
def vectors() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 30, TRANSFORMER_UNITS)


@pytest.fixture(params=TRANSFORMERS)
def variant(request: pytest.FixtureRequest) -> TransformerBody:
    return TRANSFORMERS[request.param]()


def alone(made: TransformerBody, row: Tensor) -> Tensor:
    """(T, hidden) of one text, a word at a time."""
    state, found = made.initial_state(1), []
    for vector in row:
        hidden, state = made(vector[None, None], None, state)
        found.append(hidden[0, 0])
    return torch.stack(found)


def test_a_batch_is_its_rows_and_padding_is_nothing(variant: TransformerBody, vectors: Tensor) -> None:
    assert_padding_is_nothing(variant, vectors, LENGTHS, partial(alone, variant))


@pytest.mark.parametrize("cuts", [[3, 4, 1], [9, 1, 1], [1, 1, 1]], ids=str)
def test_a_text_in_pieces_is_the_text_at_once(
    variant: TransformerBody, vectors: Tensor, cuts: list[int]
) -> None:
    whole, _ = variant(vectors[:3], LENGTHS[:3], variant.initial_state(3))
    state, done, pieces = variant.initial_state(3), 0, []
    for cut in cuts:
        hidden, state = variant(vectors[:3, done : done + cut], None, state)
        state = variant.stack_states(variant.split_state(state))
        pieces.append(hidden)
        done += cut
    if done < 11:
        hidden, _ = variant(vectors[:3, done:], LENGTHS[:3] - done, state)
        pieces.append(hidden)
    else:
        hidden, _ = variant(vectors[[0, 2], done:], LENGTHS[[0, 2]] - done, [state[0], state[2]])
        pieces.append(torch.zeros_like(whole[:, done:]).index_copy(0, torch.tensor([0, 2]), hidden))
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_no_word_sees_a_later_one(variant: TransformerBody, vectors: Tensor) -> None:
    hidden, _ = variant(vectors, None, variant.initial_state(4))
    vectors[:, 13:] = vectors[:, 13:].flip(2)
    other, _ = variant(vectors, None, variant.initial_state(4))
    assert torch.equal(hidden[:, :13], other[:, :13])
    assert not torch.allclose(hidden[:, 13], other[:, 13])


@pytest.mark.parametrize(("window", "overlap"), [(8, 0), (8, 3), (8, 7), (6, 2)])
def test_longer_texts_begin_again_with_their_last_words(window: int, overlap: int, vectors: Tensor) -> None:
    made = transformer(window=window, overlap=overlap, first_position=2)
    row = vectors[:1]
    hidden, _ = made(row, None, made.initial_state(1))
    starts = [0]
    while starts[-1] + window < 30:
        starts.append(starts[-1] + window - overlap)
    for start, done in zip(starts, [0, *(start + overlap for start in starts[1:])], strict=True):
        block = row[:, start : start + window]
        expected, _ = made(block, None, made.initial_state(1))
        skip = done - start
        torch.testing.assert_close(hidden[:, done : start + window], expected[:, skip:], atol=1e-5, rtol=1e-5)


def test_a_word_beyond_reach_changes_nothing(vectors: Tensor) -> None:
    made = transformer(window=8, overlap=0)
    hidden, _ = made(vectors, None, made.initial_state(4))
    vectors[:, :8] = 0
    other, _ = made(vectors, None, made.initial_state(4))
    assert torch.equal(hidden[:, 8:], other[:, 8:])


# -- the state ---------------------------------------------------------------------------------------------


def nbytes(rows: list[RowState]) -> int:
    """Of all tensors of `rows`, each counted once."""
    tensors = {tensor.data_ptr(): tensor.untyped_storage().nbytes() for row in rows for tensor in row}
    return sum(tensors.values())


def test_states_own_their_memory_and_nothing_more(variant: TransformerBody, vectors: Tensor) -> None:
    _, after = variant(vectors, LENGTHS, variant.initial_state(4))
    for row in variant.split_state(after):
        for tensor in row:
            assert tensor.is_contiguous()
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_states_of_a_typed_text_share_their_blocks(vectors: Tensor) -> None:
    made = transformer()
    state, states = made.initial_state(1), []
    words = 4 * BLOCK
    for vector in vectors.reshape(-1, TRANSFORMER_UNITS)[:words]:
        _, state = made(vector[None, None], None, state)
        states.append(made.split_state(state)[0])
    word_bytes = 2 * 2 * TRANSFORMER_UNITS * 4
    assert nbytes(states[-1:]) == words * word_bytes
    assert len(states[-1]) == 4
    # Each word is kept twice: alone, and in its block; but the last of a block only there.
    assert nbytes(states) == (2 * words - words // BLOCK) * word_bytes
    assert max(map(len, states)) == 3 + BLOCK - 1


def test_a_long_text_has_few_blocks_that_are_never_changed(vectors: Tensor) -> None:
    made = transformer()
    _, state = made(vectors[:1], None, made.initial_state(1))
    kept = state[0][0].clone()
    for piece, blocks in ((vectors[1:2, :3], 2), (vectors[1:2, :5], 3), (vectors[1:2, :20], 2)):
        _, after = made(piece, None, state)
        if blocks == 3:
            _, after = made(piece, None, after)
        assert len(after[0]) == blocks
        assert torch.equal(state[0][0], kept)
        assert after[0][0] is state[0][0]


def test_a_window_bounds_the_state(vectors: Tensor) -> None:
    made = transformer(window=8, overlap=5)
    _, state = made(vectors, None, made.initial_state(4))
    assert all(sum(block.shape[1] for block in row) <= 8 for row in state)


# -- positions ---------------------------------------------------------------------------------------------


def test_sinusoids() -> None:
    # Equation in section 3.5 of Vaswani et al., with sines first, cosines after them.
    found = _sinusoids(torch.tensor([0, 1, 700]), 6)
    for row, place in zip(found.tolist(), (0, 1, 700), strict=True):
        angles = [place / 10000 ** (i / 2) for i in range(3)]
        assert row == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-4)
    assert _sinusoids(torch.tensor([5]), 7)[0, 6] == 0


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_order_matters_where_there_are_positions(positions: str, vectors: Tensor) -> None:
    swapped = vectors[:, [1, 0, 2]]
    for made, matters in (
        (transformer(layers=1, positions=positions), True),
        (transformer(layers=1, positions="none"), False),
    ):
        one, two = (made(rows, None, made.initial_state(4))[0][:, 2] for rows in (vectors[:, :3], swapped))
        assert torch.allclose(one, two, atol=1e-5) != matters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 15}, "units (15) must be a multiple of heads (2)"),
        ({"overlap": 100}, "overlap (100) must be less than window (100)"),
        ({"positions": "learned", "first_position": 2}, "first_position is for sinusoidal positions"),
        ({"activation": "swish"}, "Input should be"),
        ({"units": 2}, "greater than or equal to 4"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        transformer(**changes)
    assert message in str(caught.value)


def test_frequencies_fall(vectors: Tensor) -> None:
    crossings = [
        int((wave[1:].sign() != wave[:-1].sign()).sum())
        for wave in _sinusoids(torch.arange(300), 16)[:, :8].T
    ]
    assert all(high >= low for high, low in pairwise(crossings))
    assert crossings[0] > 50 > crossings[-1]


def test_rows_of_very_different_lengths_are_padded_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.bodies.past.SPARE_WORDS", 4)
    assert alike([3, 50, 2, 45, 0, 49, 1, 1, 2]) == [[1, 5, 3, 0, 2, 8], [6, 7, 4]]
    assert alike([5, 6, 4]) == [[0, 1, 2]]
    made = transformer(final_norm=True, first_position=2)
    torch.manual_seed(2)
    texts = [torch.randn(1, length, TRANSFORMER_UNITS) for length in (3, 50, 2, 1, 1, 2)]
    read = [made(text, None, made.initial_state(1))[1][0] for text in texts]
    more, lengths = torch.randn(6, 4, TRANSFORMER_UNITS), torch.tensor([4, 1, 3, 4, 2, 2])
    hidden, _ = made(more, lengths, made.stack_states(read))
    for row, length in enumerate(lengths.tolist()):
        whole = torch.cat([texts[row], more[row : row + 1, :length]], dim=1)
        expected, _ = made(whole, None, made.initial_state(1))
        torch.testing.assert_close(hidden[row, :length], expected[0, -length:], atol=1e-5, rtol=1e-5)
