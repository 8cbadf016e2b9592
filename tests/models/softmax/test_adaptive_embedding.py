"""Input vectors: one table and one projection a band, shared with the output layer or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.softmax.adaptive_embedding import AdaptiveEmbedding
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from tests.support.layers import Layout, layouts

LAYOUT = Layout(5, (((2, 3), 4), ((6,), 2)), hidden_size=8)


def build(layout: Layout, tied: bool, scale: float = 1.0) -> tuple[AdaptiveEmbedding, AdaptiveSoftmax]:
    torch.manual_seed(0)
    config = layout.config.model_copy(update={"tied": tied, "embedding_scale": scale})
    softmax = AdaptiveSoftmax(config)
    return AdaptiveEmbedding(config, softmax), softmax


def plain_vector(embedding: AdaptiveEmbedding, layout: Layout, word: int) -> Tensor:
    low = layout.shortlist
    if word < low:
        return embedding.table(-1)[word] * embedding.scale
    for band, (sizes, _) in enumerate(layout.bands):
        if word < low + sum(sizes):
            return embedding.projections[band] @ embedding.table(band)[word - low] * embedding.scale
        low += sum(sizes)
    raise AssertionError(word)


@given(layouts(), st.booleans(), st.sampled_from([1.0, 2.5]))
def test_every_word_has_the_vector_of_its_band(layout: Layout, tied: bool, scale: float) -> None:
    embedding, _ = build(layout, tied, scale)
    vectors = embedding(torch.arange(layout.vocabulary_size))
    wanted = torch.stack([plain_vector(embedding, layout, i) for i in range(layout.vocabulary_size)])
    torch.testing.assert_close(vectors, wanted)


def test_any_shape_of_ids() -> None:
    embedding, _ = build(LAYOUT, tied=True)
    ids = torch.tensor([[[3, 15], [0, 6]], [[6, 15], [9, 9]]])
    vectors = embedding(ids)
    assert vectors.shape == (2, 2, 2, 8)
    assert torch.equal(vectors[0, 0, 1], vectors[1, 0, 1])
    assert torch.equal(vectors[1, 1, 0], vectors[1, 1, 1])
    assert embedding(torch.zeros(3, 0, dtype=torch.int64)).shape == (3, 0, 8)


def test_tied_tables_are_those_of_the_output_layer() -> None:
    embedding, softmax = build(LAYOUT, tied=True)
    assert {name for name, _ in embedding.named_parameters()} == {"projections.0", "projections.1"}
    before = embedding(torch.tensor([2, 6, 12]))
    with torch.no_grad():
        softmax.head[2] += 1
        softmax.tails[0][1] += 1
        softmax.tails[1][2] += 1
    assert ((embedding(torch.tensor([2, 6, 12])) - before).abs().sum(1) > 0).all()


def test_untied_tables_are_its_own() -> None:
    embedding, softmax = build(LAYOUT, tied=False)
    assert {name for name, _ in embedding.named_parameters()} == {
        "head", "projections.0", "projections.1", "tails.0", "tails.1",
    }  # fmt: skip
    every = torch.arange(LAYOUT.vocabulary_size)
    before = embedding(every)
    with torch.no_grad():
        for weight in softmax.parameters():
            weight.zero_()
    assert torch.equal(embedding(every), before)


def test_cluster_columns_of_the_head_are_no_words() -> None:
    embedding, softmax = build(LAYOUT, tied=True)
    every = torch.arange(LAYOUT.vocabulary_size)
    before = embedding(every)
    with torch.no_grad():
        softmax.head[LAYOUT.shortlist :] += 1
    assert torch.equal(embedding(every), before)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_reach_the_rows_that_were_looked_up_and_no_others(tied: bool) -> None:
    embedding, softmax = build(LAYOUT, tied)
    embedding(torch.tensor([[2, 6], [12, 6]])).square().sum().backward()
    owner = softmax if tied else embedding
    assert owner.head.grad is not None
    assert owner.head.grad.abs().sum(1).nonzero()[:, 0].tolist() == [2]
    assert owner.tails[0].grad.abs().sum(1).nonzero()[:, 0].tolist() == [1]
    assert owner.tails[1].grad.abs().sum(1).nonzero()[:, 0].tolist() == [2]
    assert all(projection.grad.abs().sum() > 0 for projection in embedding.projections)


def test_bfloat16_weights_give_bfloat16_vectors() -> None:
    for layout in (LAYOUT, replace(LAYOUT, bands=())):
        embedding, softmax = build(layout, tied=True)
        softmax.to(torch.bfloat16)
        vectors = embedding.to(torch.bfloat16)(torch.tensor([1, layout.vocabulary_size - 1]))
        assert vectors.dtype == torch.bfloat16


@pytest.mark.parametrize("word", [-1, 16])
def test_an_id_outside_the_vocabulary(word: int) -> None:
    embedding, _ = build(LAYOUT, tied=True)
    with pytest.raises(IndexError, match=r"ids must be in 0\.\.15"):
        embedding(torch.tensor([[1, word]]))
