"""The gated convolutional body on its own."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.bodies.gated_convolution import GatedConvolutionBody
from tests.support.bodies import (
    CONVOLUTION_INPUTS,
    CONVOLUTIONS,
    assert_padding_is_nothing,
    gated_convolution,
)

LENGTHS = torch.tensor([20, 7, 13, 1])


@pytest.fixture(params=["bridged", "direct", "bigram"])
def made(request: pytest.FixtureRequest) -> GatedConvolutionBody:
    match request.param:
        case "bridged":
            return gated_convolution(CONVOLUTIONS, 10, output_bias=True)
        case "direct":
            return gated_convolution(CONVOLUTIONS, 12)
        case _:
            return gated_convolution([(8, 1, 1), (5, 1, 2)], 5)


@pytest.fixture
def vectors() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 20, CONVOLUTION_INPUTS)


def slowly(made: GatedConvolutionBody, row: Tensor) -> Tensor:
    """(T, hidden): equation 1, a position, a layer and a place of the kernel at a time."""
    outputs = [[made.from_vectors(vector) for vector in row]]
    for index, layer in enumerate(made.config.layers):
        convolution, inputs, found = made.convolutions[index], outputs[-1], []
        for place in range(len(row)):
            total = convolution.bias.clone()
            for offset in range(layer.kernel):
                at = place - (layer.kernel - 1) + offset
                if at >= 0:
                    total += convolution.weight[:, :, offset] @ inputs[at]
            values, gates = total.chunk(2)
            one = values * gates.sigmoid()
            if layer.residual:
                added = outputs[-layer.residual][place]
                if str(index) in made.residuals:
                    linear = made.residuals[str(index)]
                    added = linear.weight[:, :, 0] @ added + linear.bias
                one = (one + added) / math.sqrt(2)
            found.append(one)
        outputs.append(found)
    rows = torch.stack(outputs[-1])
    return rows if made.to_hidden is None else made.to_hidden(rows)


def test_a_batch_is_its_rows_and_padding_is_nothing(made: GatedConvolutionBody, vectors: Tensor) -> None:
    assert_padding_is_nothing(made, vectors, LENGTHS, partial(slowly, made))


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1, 1], [5, 1], [2, 3]], ids=str)
def test_a_text_in_pieces_is_the_text_at_once(
    made: GatedConvolutionBody, vectors: Tensor, cuts: list[int]
) -> None:
    whole, _ = made(vectors[:3], LENGTHS[:3], made.initial_state(3))
    state, done, pieces = made.initial_state(3), 0, []
    for cut in cuts:
        hidden, state = made(vectors[:3, done : done + cut], None, state)
        rows = made.split_state(state)
        for row in rows:
            for tensor in row:
                assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
        state = made.stack_states(rows)
        pieces.append(hidden)
        done += cut
    hidden, _ = made(vectors[:3, done:], LENGTHS[:3] - done, state)
    torch.testing.assert_close(torch.cat([*pieces, hidden], dim=1), whole, atol=1e-5, rtol=1e-5)


def test_the_window_is_what_a_word_depends_on(vectors: Tensor) -> None:
    made = gated_convolution(CONVOLUTIONS, 12)
    assert made.window == 1 + 2 + 0 + 3 + 1
    hidden, _ = made(vectors, None, made.initial_state(4))
    vectors[:, 5] += 1
    other, _ = made(vectors, None, made.initial_state(4))
    assert torch.equal(hidden[:, :5], other[:, :5])
    assert not torch.allclose(hidden[:, 5 + made.window - 1], other[:, 5 + made.window - 1])
    assert torch.equal(hidden[:, 5 + made.window :], other[:, 5 + made.window :])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least 1 item"),
        ([(8, 3, 2)], "layer 0 cannot add what was 2 layers back, at most 1"),
        ([(8, 0, 1)], "greater than or equal to 1"),
    ],
)
def test_configurations_that_make_no_sense(layers: list[tuple[int, int, int]], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        gated_convolution(layers, 8)
    assert message in str(caught.value)
