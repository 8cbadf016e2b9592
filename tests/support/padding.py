"""Checks that hold for every body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.bodies.base import Body


def assert_padding_is_nothing(
    body: Body[Any], vectors: Tensor, lengths: Tensor, alone: Callable[[Tensor], Tensor]
) -> None:
    """Each row of a batch is what `alone` gives for it, (T, d) of (T, input); what stands behind its length
    changes neither hidden rows nor states."""
    hidden, after = body(vectors, lengths, body.initial_state(len(vectors)))
    other = vectors.clone()
    for row, length in enumerate(lengths.tolist()):
        other[row, length:] = 1e4
        assert not hidden[row, length:].any()
        torch.testing.assert_close(hidden[row, :length], alone(vectors[row, :length]), atol=1e-5, rtol=1e-5)
    again, after_again = body(other, lengths, body.initial_state(len(vectors)))
    assert torch.equal(hidden, again)
    for one, two in zip(body.split_state(after), body.split_state(after_again), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
