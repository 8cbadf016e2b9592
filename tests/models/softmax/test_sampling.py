"""Drawn words have the wanted distribution, and no cluster is opened without need."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.bundle import Bundle
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.sampling import Draw, draw, greedy
from tests.support.layers import Layout, even, random_layer, random_rows

LAYOUT = Layout(
    shortlist=5,
    bands=(((4, 3), 4), ((6, 2, 7), 2)),
    head_bias=True,
    tail_bias=True,
    excluded=frozenset({2, 8}),
)
N = 6_000


def uniforms(seed: int) -> Iterator[float]:
    source = random.Random(seed)
    while True:
        yield source.random()


def wanted(softmax: AdaptiveSoftmax, row: Tensor, one: Draw) -> Tensor:
    """(V,) the distribution by brute force: all words, tempered, biased, cut."""
    values = softmax.log_prob(row[None])[0].double()
    for word, bias in one.bias.items():
        values[word] += bias
    values[softmax.excluded] = -torch.inf
    p = (values / one.temperature).softmax(0)
    order = p.argsort(descending=True, stable=True)
    n = int((p[order].cumsum(0) < one.top_p - 1e-12).sum()) + 1 if one.top_p < 1 else len(p)
    kept = torch.zeros_like(p)
    kept[order[:n]] = p[order[:n]]
    return kept / kept.sum()


def assert_fits(counts: Tensor, p: Tensor) -> None:
    """Pearson's chi-square with the rare words pooled; six standard deviations of its own distribution."""
    assert counts[p == 0].sum() == 0
    n = counts.sum()
    common = p * n >= 10
    observed = torch.cat([counts[common], counts[~common].sum()[None]]).double()
    expected = torch.cat([p[common] * n, (p[~common].sum() * n)[None]])
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert statistic < freedom + 6 * math.sqrt(2 * freedom) + 6


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("bias", [{}, {3: 1.5, 7: 3.0, 8: 50.0, 12: -4.0}])
def test_the_distribution_is_the_models(temperature: float, bias: dict[int, float]) -> None:
    softmax = random_layer(LAYOUT, seed=1, scale=2)
    row = random_rows(1, 8, seed=2)[0]
    source = uniforms(3)
    one = Draw(source, temperature, bias=bias)
    drawn = draw(softmax, row.expand(N, -1), [one] * N)
    assert_fits(drawn.ids.bincount(minlength=softmax.cutoffs[-1]), wanted(softmax, row, one))


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("temperature", "bias"), [(1.0, {}), (0.7, {}), (1.0, {3: 1.0}), (2.0, {7: 2.0})])
def test_top_p_cuts_the_distribution(top_p: float, temperature: float, bias: dict[int, float]) -> None:
    softmax = random_layer(LAYOUT, seed=4, scale=2)
    row = random_rows(1, 8, seed=5)[0]
    source = uniforms(6)
    one = Draw(source, temperature, top_p, bias)
    n = N // 15
    drawn = draw(softmax, row.expand(n, -1), [one] * n)
    assert_fits(drawn.ids.bincount(minlength=softmax.cutoffs[-1]), wanted(softmax, row, one))


def test_the_nucleus_of_a_flat_distribution_is_found_however_many_words_it_has() -> None:
    layout = even(10, clusters=40, size=20)
    softmax = random_layer(layout, seed=1, scale=0.01)
    row = random_rows(1, 8, seed=1)
    one = Draw(iter([1 - 1e-12]), top_p=0.9)
    p = wanted(softmax, row[0], one)
    drawn = draw(softmax, row, [one])
    assert int((p > 0).sum()) > 600
    kept = p[p > 0]
    assert float(p[drawn.ids[0]]) == pytest.approx(float(kept.min()), rel=1e-4)


@settings(deadline=None)
@given(
    clusters=st.integers(0, 6),
    seed=st.integers(0, 1000),
    temperature=st.floats(0.05, 20),
    bias=st.dictionaries(st.integers(0, 12), st.floats(-100, 100), max_size=3),
)
def test_the_logprob_is_the_models_own(
    clusters: int, seed: int, temperature: float, bias: dict[int, float]
) -> None:
    layout = even(13, clusters)
    softmax = random_layer(layout, seed, scale=3)
    rows = random_rows(4, 8, seed)
    source = uniforms(seed)
    drawn = draw(softmax, rows, [Draw(source, temperature, bias=bias)] * 4)
    expected = softmax.log_prob(rows).gather(1, drawn.ids[:, None])[:, 0]
    torch.testing.assert_close(drawn.logprobs, expected, atol=1e-5, rtol=1e-5)


def test_a_cluster_is_opened_only_where_its_token_is_drawn() -> None:
    softmax = random_layer(even(5, clusters=8), seed=1)
    rows = random_rows(500, 8, seed=2)
    drawn = draw(softmax, rows, [Draw(uniforms(seed)) for seed in range(500)])
    opened = drawn.expanded.sum(1)
    tail = drawn.ids >= softmax.shortlist
    assert 0 < tail.sum() < 500
    assert torch.equal(opened, tail.long())


def test_the_same_numbers_draw_the_same_words_whatever_else_is_in_the_batch() -> None:
    softmax = random_layer(LAYOUT, seed=1)
    rows = random_rows(6, 8, seed=2)
    options = [(0.5, 1.0), (1.0, 1.0), (1.0, 0.7), (2.0, 1.0), (0.9, 0.8), (1.3, 1.0)]
    together = draw(softmax, rows, [Draw(uniforms(i), *option) for i, option in enumerate(options)])
    for i, option in enumerate(options):
        alone = draw(softmax, rows[i : i + 1], [Draw(uniforms(i), *option)])
        assert int(alone.ids) == int(together.ids[i])


def test_a_large_bias_forces_a_word_and_a_negative_one_bans_it() -> None:
    softmax = random_layer(LAYOUT, seed=1)
    rows = random_rows(50, 8, seed=2)
    for word in (0, 6, 20):
        forced = draw(softmax, rows, [Draw(uniforms(1), bias={word: 100.0})] * 50)
        assert forced.ids.tolist() == [word] * 50
        banned = draw(softmax, rows, [Draw(uniforms(1), bias={word: -100.0})] * 50)
        assert word not in banned.ids.tolist()


@settings(deadline=None)
@given(seed=st.integers(0, 1000), bias=st.dictionaries(st.integers(0, 26), st.floats(-5, 5), max_size=6))
def test_greedy_is_the_best_biased_word(seed: int, bias: dict[int, float]) -> None:
    softmax = random_layer(LAYOUT, seed)
    row = random_rows(1, 8, seed)
    word, logprob = greedy(softmax.topk, softmax.target_logprobs, row, bias, softmax.excluded)
    own = softmax.log_prob(row)[0]
    values = own.clone()
    for one, value in bias.items():
        values[one] += value
    values[softmax.excluded] = -torch.inf
    assert float(values[word]) == pytest.approx(float(values.max()), abs=1e-5)
    assert logprob == pytest.approx(float(own[word]), abs=1e-5)


def test_what_makes_no_sense_is_refused() -> None:
    softmax, rows = random_layer(LAYOUT, seed=1), random_rows(2, 8, seed=1)
    for options, message in (
        ((0.0,), "temperature"),
        ((math.inf,), "temperature"),
        ((1.0, 0.0), "top_p"),
        ((1.0, 1.5), "top_p"),
        ((1.0, 1.0, {1: math.nan}), "bias"),
    ):
        with pytest.raises(ValueError, match=message):
            Draw(iter([0.5]), *options)
    with pytest.raises(ValueError, match="one entry for each of the 2 rows"):
        draw(softmax, rows, [Draw(iter([0.5]))])
    with pytest.raises(ValueError, match=r"biased ids must be in 0\.\.26"):
        draw(softmax, rows, [Draw(iter([0.5]), bias={27: 1.0})] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.8, 1.0, 1.3])
@torch.inference_mode()
def test_a_hundred_thousand_words_of_the_default_model(temperature: float) -> None:
    bundle = Bundle.load(device="cpu")
    (ids,) = bundle.vocabulary.encode_batch(["I would like to"])
    text = torch.tensor([[bundle.vocabulary.start_id, *ids]])
    hidden, _ = bundle.model.encode(text, torch.tensor([text.shape[1]]), bundle.model.initial_state(1))
    row, softmax = hidden[0, -1], bundle.model.softmax
    one = Draw(uniforms(11), temperature)
    counts = torch.zeros(len(bundle.vocabulary), dtype=torch.int64)
    for _ in range(50):
        drawn = bundle.model.draw(row.expand(2000, -1), [one] * 2000)
        counts += drawn.ids.bincount(minlength=len(counts))
    assert counts.sum() == 100_000
    assert (counts[softmax.shortlist :] > 0).sum() > 100
    assert_fits(counts, wanted(softmax, row, one))
