"""The Transformer-XL body against the paper's formulas written position by position, and its state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import models.bodies.segment_memory as segment_memory
from models.bodies.transformer_xl import TransformerXLBody, TransformerXLLayer
from models.config.bodies import TransformerXLConfig
from models.config.model import ModelConfig
from tests.support.bodies import XL_HIDDEN, XL_REACHES, transformer_xl

KINDS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"pre_norm": True},
    "shared biases, clamped": {"shared_biases": True, "clamp": 3},
}


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, XL_HIDDEN, generator=torch.Generator().manual_seed(sum(shape)))


# -- the paper, one position at a time ----------------------------------------------------------------------


def first_attended(position: int, options: dict[str, Any]) -> int:
    """Of the original: its segment and the memory before that; or the same number for all."""
    if options.get("attended"):
        return int(position - options["attended"] + 1)
    return int(position // options["segment"] * options["segment"] - options["memory"])


def sinusoid(distance: int, clamp: int | None) -> Tensor:
    distance = distance if clamp is None else min(distance, clamp)
    angles = [distance / 10000 ** (2 * i / XL_HIDDEN) for i in range(XL_HIDDEN // 2)]
    return torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])


def reference_layer(layer: TransformerXLLayer, u: Tensor, v: Tensor, rows: Tensor, options: Any) -> Tensor:
    attention, pre = layer.attention, options.get("pre_norm", False)
    heads, size = attention.heads, attention.head_size

    def project(row: Tensor) -> Tensor:
        projected: Tensor = attention.qkv(layer.attention_norm(row) if pre else row)
        return projected.view(3, heads, size)

    out = []
    for i, row in enumerate(rows):
        first = first_attended(i, options)
        seen = range(first if options["initial_memory"] == "zeros" else max(0, first), i + 1)
        q = project(row)[0]
        scores, values = [], []
        for j in seen:
            _, key, value = project(rows[j] if j >= 0 else torch.zeros(XL_HIDDEN))
            position = attention.positions(sinusoid(i - j, options.get("clamp"))).view(heads, size)
            scores.append((((q + u) * key).sum(-1) + ((q + v) * position).sum(-1)) / math.sqrt(size))
            values.append(value)
        weights = torch.stack(scores).softmax(0)
        taken = attention.out((weights[..., None] * torch.stack(values)).sum(0).flatten())
        row = row + taken if pre else layer.attention_norm(row + taken)
        inner = layer.outer(layer.inner(layer.feed_forward_norm(row) if pre else row).relu())
        out.append(row + inner if pre else layer.feed_forward_norm(row + inner))
    return torch.stack(out)


def reference(body: TransformerXLBody, rows: Tensor, options: dict[str, Any]) -> Tensor:
    """(T, d) of `rows` (T, d)."""
    for layer in body.layers:
        assert isinstance(layer, TransformerXLLayer)
        owner: Any = body if body.shared_biases else layer.attention
        rows = reference_layer(layer, owner.content_bias, owner.position_bias, rows, options)
    return rows


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reach", XL_REACHES)
def test_every_position_is_the_papers(kind: str, reach: str) -> None:
    options = {**XL_REACHES[reach], **KINDS[kind]}
    body, rows = transformer_xl(**options), vectors(3, 17)
    lengths = torch.tensor([17, 6, 1])
    hidden, _ = body(rows, lengths, body.initial_state(3))
    for found, row, n in zip(hidden, rows, lengths.tolist(), strict=True):
        close(found[:n], reference(body, row[:n], options))
        assert not found[n:].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reach", XL_REACHES)
def test_pieces_of_any_length_beside_any_others(kind: str, reach: str) -> None:
    body, rows = transformer_xl(**XL_REACHES[reach], **KINDS[kind]), vectors(4, 23)
    whole, _ = body(rows, None, body.initial_state(4))
    generator = torch.Generator().manual_seed(3)
    states, at = body.split_state(body.initial_state(4)), [0, 0, 0, 0]
    while min(at) < 23:
        active = [i for i in range(4) if at[i] < 23 and torch.rand(1, generator=generator) < 0.7] or [
            at.index(min(at))
        ]
        counts = [min(23 - at[i], int(torch.randint(1, 8, (1,), generator=generator))) for i in active]
        batch = torch.full(
            (len(active), max(counts), XL_HIDDEN), 9.0
        )  # what stands in the padding matters nothing
        for row, i, n in zip(batch, active, counts, strict=True):
            row[:n] = rows[i, at[i] : at[i] + n]
        state = body.stack_states([states[i] for i in active])
        hidden, state = body(batch, torch.tensor(counts), state)
        for found, after, i, n in zip(hidden, body.split_state(state), active, counts, strict=True):
            close(found[:n], whole[i, at[i] : at[i] + n])
            states[i], at[i] = after, at[i] + n


@pytest.mark.parametrize("reach", XL_REACHES)
def test_a_state_need_not_be_split_between_steps(reach: str) -> None:
    body, rows = transformer_xl(**XL_REACHES[reach]), vectors(2, 15)
    whole, _ = body(rows, None, body.initial_state(2))
    state = body.initial_state(2)
    hidden, state = body(rows[:, :9], torch.tensor([9, 4]), state)
    late = torch.stack([rows[0, 9:12], rows[1, 4:7]])
    hidden, state = body(late, None, state)
    close(hidden, torch.stack([whole[0, 9:12], whole[1, 4:7]]))


@pytest.mark.parametrize("elements", [1, 300])
def test_bounded_temporaries_change_nothing(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in XL_REACHES.values():
        body, rows = transformer_xl(**options), vectors(2, 19)
        _, state = body(rows[:, :6], torch.tensor([6, 3]), body.initial_state(2))
        whole, _ = body(rows[:, 6:], None, state)
        with monkeypatch.context() as patch:
            patch.setattr(segment_memory, "CHUNK_ELEMENTS", elements)
            assert len(list(body.reach.chunks(state[1], 6, 13, 3, torch.device("cpu")))) > 1
            pieces, _ = body(rows[:, 6:], None, state)
        close(pieces, whole)


# -- the state ----------------------------------------------------------------------------------------------


def test_a_rows_state_is_as_small_as_may_be_and_its_own() -> None:
    body = transformer_xl(**XL_REACHES["same length, zeros"])
    rows = vectors(2, 9)
    _, state = body(rows, torch.tensor([9, 2]), body.initial_state(2))
    first, second = body.split_state(state)
    # Of nine positions the tenth attends the last four; of two both.
    assert first[0].shape == (2, 2, 3, 4, 5)
    assert second[0].shape == (2, 2, 3, 2, 5)
    assert [int(first[1]), int(second[1])] == [9, 2]
    for tensor in (*first, *second):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    before = [tensor.clone() for tensor in first]
    body(rows, None, body.stack_states([first, second]))
    assert all(torch.equal(one, other) for one, other in zip(before, first, strict=True))


def test_memory_of_a_segment_does_not_grow_with_the_text() -> None:
    body = transformer_xl(**XL_REACHES["segments, zeros"])
    _, state = body(vectors(1, 64), None, body.initial_state(1))
    assert state[0].shape[4] == 5
    _, state = body(vectors(1, 3), None, state)
    assert state[0].shape[4] == 5 + 3


# -- weights ------------------------------------------------------------------------------------------------


def test_it_can_be_trained() -> None:
    """The table of positions is kept for frozen weights only."""
    body = transformer_xl(**XL_REACHES["segments, zeros"], pre_norm=True).requires_grad_(True)
    rows = vectors(2, 6)
    for _ in range(2):
        hidden, _ = body(rows, None, body.initial_state(2))
        hidden.square().mean().backward()
    for name, weight in body.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0 or name.endswith("feed_forward_norm.bias"), name
    body.requires_grad_(False)
    first, _ = body(rows, None, body.initial_state(2))
    for layer in body.layers:
        assert isinstance(layer, TransformerXLLayer)
        layer.attention.positions.weight = torch.nn.Parameter(
            layer.attention.positions.weight * 2, requires_grad=False
        )
    second, _ = body(rows, None, body.initial_state(2))
    assert (first - second).abs().max() > 1e-3


def test_long_texts_make_the_table_grow() -> None:
    body, rows = transformer_xl(memory=0, segment=1000, initial_memory="empty"), vectors(1, 300)
    short, _ = body(rows[:, :20], None, body.initial_state(1))
    whole, _ = body(rows, None, body.initial_state(1))
    close(whole[:, :20], short)
    again, _ = transformer_xl(memory=0, segment=1000, initial_memory="empty")(
        rows, None, body.initial_state(1)
    )
    close(again, whole)


def test_odd_sizes_and_unreachable_memory_are_refused() -> None:
    config = TransformerXLConfig(layers=1, heads=1, head_size=2, inner=2, **XL_REACHES["no memory"])
    with pytest.raises(ValueError, match="must be even"):
        TransformerXLBody(config, 5)
    with pytest.raises(ValueError, match="must be at most memory"):
        TransformerXLConfig(
            layers=1, heads=1, head_size=2, inner=2, memory=3, segment=2, attended=5, initial_memory="zeros"
        )


def test_config_json_tells_the_bodies_apart() -> None:
    config = ModelConfig(
        vocabulary_size=9,
        hidden_size=XL_HIDDEN,
        cutoffs=(9,),
        body=TransformerXLConfig(layers=1, heads=2, head_size=3, inner=4, **XL_REACHES["segments, zeros"]),
    )
    again = ModelConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.architecture == "transformer_xl"
