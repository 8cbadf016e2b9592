"""The output layer's probabilities and its exact, cluster-aware top-k."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.topk import NO_WORD, TopK
from tests.support.layers import (
    Layout,
    brute_force,
    even,
    integer_layer,
    integer_rows,
    layouts,
    plain_log_prob,
    questions,
    random_layer,
    random_rows,
    sequential_gate,
    torch_module,
)

seeds = st.integers(0, 2**32)


def check_rows(
    softmax: AdaptiveSoftmax,
    layout: Layout,
    hidden: Tensor,
    found: TopK,
    ks: list[int],
    allowed: list[Tensor | None] | None,
    exact: bool,
) -> None:
    """`found` is the brute-force answer. Not `exact`: up to rounding, words 1e-5 apart may change places."""
    table = softmax.log_prob(hidden).tolist()
    width = max(ks, default=0)
    assert found.ids.shape == found.logprobs.shape == (len(hidden), width)
    assert found.ids.dtype == torch.int64
    assert found.logprobs.dtype == torch.float32
    assert found.expanded.shape == (len(hidden), softmax.n_clusters)
    for i, (row, k) in enumerate(zip(table, ks, strict=True)):
        wanted = brute_force(row, k, layout.excluded, None if allowed is None else allowed[i])
        ids, logprobs = found.ids[i].tolist(), found.logprobs[i].tolist()
        n = len(wanted)
        assert ids[n:] == [NO_WORD] * (width - n)
        assert logprobs[n:] == [-math.inf] * (width - n)
        got = list(zip(ids[:n], logprobs[:n], strict=True))
        if exact:
            assert got == wanted
        else:
            assert len(set(ids[:n])) == n
            assert got == sorted(got, key=lambda pair: (-pair[1], pair[0]))
            assert [row[j] for j in ids[:n]] == pytest.approx([lp for _, lp in wanted], abs=1e-5, rel=1e-6)
            assert logprobs[:n] == pytest.approx([row[j] for j in ids[:n]], abs=1e-5, rel=1e-6)


# -- log-probabilities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (5, 20), (3, 9, 40)])
def test_log_prob_is_that_of_torch(sizes: tuple[int, ...], head_bias: bool) -> None:
    bands = tuple(((size,), 16 // 2 ** (i + 1)) for i, size in enumerate(sizes))
    layout = Layout(10, bands, hidden_size=16, head_bias=head_bias)
    softmax = random_layer(layout, seed=3, scale=2.0)
    hidden = random_rows(6, 16, seed=4)
    torch.testing.assert_close(
        softmax.log_prob(hidden), torch_module(softmax, layout).log_prob(hidden), atol=1e-5, rtol=0
    )


@given(layouts(), st.integers(0, 4), seeds)
def test_log_prob_is_the_papers_formula(layout: Layout, rows: int, seed: int) -> None:
    softmax = random_layer(layout, seed)
    hidden = random_rows(rows, layout.hidden_size, seed + 1)
    wanted = plain_log_prob(softmax, layout, hidden.double()).float()
    torch.testing.assert_close(softmax.log_prob(hidden), wanted, atol=1e-5, rtol=1e-6)


@given(layouts(), seeds, st.sampled_from([0.1, 1.0, 8.0]))
def test_probabilities_sum_to_one(layout: Layout, seed: int, scale: float) -> None:
    softmax = random_layer(layout, seed, scale)
    total = softmax.log_prob(random_rows(3, layout.hidden_size, seed + 1)).double().exp().sum(1)
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_without_clusters_it_is_a_plain_softmax() -> None:
    layout = Layout(shortlist=30, hidden_size=8)
    softmax = random_layer(layout, seed=1)
    hidden = random_rows(4, 8, seed=2)
    torch.testing.assert_close(softmax.log_prob(hidden), (hidden @ softmax.head.T).log_softmax(1))
    assert softmax.topk(hidden, 5).expanded.shape == (4, 0)


# -- top-k ---------------------------------------------------------------------------------------------


@given(st.data(), layouts(), st.integers(0, 5), seeds, st.sampled_from([torch.float32, torch.bfloat16]))
def test_topk_is_brute_force_with_every_tie(
    data: st.DataObject, layout: Layout, rows: int, seed: int, dtype: torch.dtype
) -> None:
    softmax = integer_layer(layout, seed).to(dtype)
    hidden = integer_rows(rows, layout.hidden_size, seed + 1)
    ks, allowed = data.draw(questions(layout, rows))
    check_rows(softmax, layout, hidden, softmax.topk(hidden, ks, allowed), ks, allowed, exact=True)


@given(st.data(), layouts(), st.integers(0, 5), seeds, st.sampled_from([0.2, 1.0, 6.0]), st.booleans())
def test_topk_is_brute_force(
    data: st.DataObject, layout: Layout, rows: int, seed: int, scale: float, half: bool
) -> None:
    softmax = random_layer(layout, seed, scale).to(torch.bfloat16 if half else torch.float32)
    hidden = random_rows(rows, layout.hidden_size, seed + 1)
    ks, allowed = data.draw(questions(layout, rows))
    check_rows(softmax, layout, hidden, softmax.topk(hidden, ks, allowed), ks, allowed, exact=False)


@given(st.data(), layouts(), seeds)
def test_a_cluster_opens_only_while_it_competes(data: st.DataObject, layout: Layout, seed: int) -> None:
    softmax = integer_layer(layout, seed)
    hidden = integer_rows(3, layout.hidden_size, seed + 1)
    ks, allowed = data.draw(questions(layout, 3))
    expanded = softmax.topk(hidden, ks, allowed).expanded
    clusters = softmax.head_logits(hidden).log_softmax(1)[:, layout.shortlist :]
    for i, row in enumerate(softmax.log_prob(hidden).tolist()):
        subset = None if allowed is None else allowed[i]
        wanted = sequential_gate(layout, row, clusters[i].tolist(), ks[i], subset)
        assert expanded[i].tolist() == wanted


@pytest.mark.parametrize("clusters", [0, 1, 2, 64, 200])
@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("rows", [1, 7])
def test_topk_with_any_number_of_clusters(clusters: int, k: int, rows: int) -> None:
    layout = even(shortlist=120, clusters=clusters, bands=3)
    for make, make_rows, exact in (
        (random_layer, random_rows, False),
        (integer_layer, integer_rows, True),
    ):
        softmax = make(layout, seed=clusters)
        hidden = make_rows(rows, layout.hidden_size, seed=k)
        check_rows(softmax, layout, hidden, softmax.topk(hidden, k), [k] * rows, None, exact)


@pytest.mark.parametrize("clusters", [0, 3, 12])
def test_topk_for_every_k(clusters: int) -> None:
    layout = replace(even(shortlist=9, clusters=clusters, size=2), excluded=frozenset({0, 4}))
    softmax = integer_layer(layout, seed=5)
    hidden = integer_rows(2, layout.hidden_size, seed=6)
    for k in range(1, layout.vocabulary_size + 1):
        check_rows(softmax, layout, hidden, softmax.topk(hidden, k), [k, k], None, exact=True)


def test_equal_rows_in_the_head_and_in_tails_are_answered_by_the_smaller_id() -> None:
    layout = even(shortlist=6, clusters=4, size=5)
    softmax = integer_layer(layout, seed=1)
    for weight in softmax.parameters():
        weight.fill_(0.0)  # all words of a section tie, all clusters tie with all words of the head
    hidden = integer_rows(3, layout.hidden_size, seed=2)
    found = softmax.topk(hidden, layout.vocabulary_size)
    assert found.ids.tolist() == [list(range(layout.vocabulary_size))] * 3
    assert found.expanded.all()
    # The clusters equal the k-th best word, so they must be looked into; their words are less probable.
    assert softmax.topk(hidden, 6).expanded.all()
    assert softmax.topk(hidden, 6).ids.tolist() == [[0, 1, 2, 3, 4, 5]] * 3


def test_a_tie_across_clusters_goes_to_the_smaller_id_though_its_cluster_opens_later() -> None:
    layout = Layout(2, (((1, 1), 1),), hidden_size=1)
    softmax = random_layer(layout, seed=0)
    softmax.head.copy_(torch.tensor([[0.0], [0.0], [3.0], [3.0]]))
    hidden = torch.ones(1, 1)
    assert softmax.topk(hidden, 1).ids.tolist() == [[2]]
    assert softmax.topk(hidden, 1).expanded.tolist() == [[True, True]]
    allowed = [torch.tensor([1, 3])]
    assert softmax.topk(hidden, 1, allowed).ids.tolist() == [[3]]
    assert softmax.topk(hidden, 1, allowed).expanded.tolist() == [[False, True]]


def test_a_confident_head_opens_no_cluster() -> None:
    layout = even(shortlist=20, clusters=50)
    softmax = random_layer(layout, seed=0)
    softmax.head[20:] = -10.0 * torch.ones(8)
    hidden = torch.ones(2, 8)
    assert not softmax.topk(hidden, 10).expanded.any()
    # Twenty words are all there are in the head: the next one must come from one cluster.
    assert softmax.topk(hidden, 21).expanded.any(1).all()


def test_a_row_is_answered_the_same_among_others() -> None:
    layout = even(shortlist=15, clusters=30)
    softmax = integer_layer(layout, seed=7)
    hidden = integer_rows(9, layout.hidden_size, seed=8)
    ks = [1, 2, 3, 105, 40, 17, 1, 60, 9]
    allowed = [None, torch.arange(50), torch.tensor([104]), None, torch.arange(0, 105, 3), None] + [None] * 3
    together = softmax.topk(hidden, ks, allowed)
    for i, k in enumerate(ks):
        alone = softmax.topk(hidden[i : i + 1], k, [allowed[i]])
        assert together.ids[i, :k].tolist() == alone.ids[0].tolist()
        assert together.logprobs[i, :k].tolist() == alone.logprobs[0].tolist()
        assert together.expanded[i].tolist() == alone.expanded[0].tolist()


@pytest.mark.parametrize("k", [5, []])
def test_no_rows(k: int | list[int]) -> None:
    layout = even(shortlist=15, clusters=3)
    found = random_layer(layout, seed=0).topk(torch.zeros(0, 8), k, [])
    assert found.ids.shape == found.logprobs.shape == (0, k or 0)
    assert found.expanded.shape == (0, 3)


def test_nothing_allowed() -> None:
    layout = replace(even(shortlist=15, clusters=3), excluded=frozenset({3}))
    softmax = random_layer(layout, seed=0)
    nothing = [torch.tensor([], dtype=torch.int64), torch.tensor([3])]
    found = softmax.topk(torch.zeros(2, 8), 4, nothing)
    assert found.ids.tolist() == [[NO_WORD] * 4] * 2
    assert found.logprobs.tolist() == [[-math.inf] * 4] * 2
    assert not found.expanded.any()


def test_excluded_words_keep_their_probability() -> None:
    layout = even(shortlist=15, clusters=3)
    softmax = random_layer(layout, seed=0)
    hidden = random_rows(2, 8, seed=1)
    before = softmax.log_prob(hidden)
    softmax.exclude(frozenset({0, 20}))
    assert torch.equal(softmax.log_prob(hidden), before)
    ids = softmax.topk(hidden, layout.vocabulary_size).ids
    assert not ((ids == 0) | (ids == 20)).any()
    assert (ids == NO_WORD).sum(1).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("k", "rows"), [(0, 2), (-1, 2), (25, 2), ([1, 0], 2), ([25, 1], 2), (0, 0), (25, 0)]
)
def test_k_out_of_range(k: int | list[int], rows: int) -> None:
    softmax = random_layer(even(shortlist=15, clusters=3), seed=0)
    with pytest.raises(ValueError, match="k must be between 1 and the vocabulary's size, 24"):
        softmax.topk(torch.zeros(rows, 8), k)


def test_one_entry_a_row() -> None:
    softmax = random_layer(even(shortlist=15, clusters=3), seed=0)
    with pytest.raises(ValueError, match="one entry for each of the 2 rows"):
        softmax.topk(torch.zeros(2, 8), [1])
    with pytest.raises(ValueError, match="one entry for each of the 2 rows"):
        softmax.topk(torch.zeros(2, 8), 1, [None])
