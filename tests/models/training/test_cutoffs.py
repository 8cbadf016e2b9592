"""The planner: the fit of g, dynamic programming against brute force, openings against real searches."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.clusters.cutoffs import (
    Costs,
    Plan,
    TrainingCosts,
    Widths,
    candidates,
    cheapest,
    price,
)
from models.training.clusters.serving_costs import ServingCosts, masses, words_scored
from models.training.clusters.timing import Array, Point, TimeModel, TimeModels, fit, grid, measure
from tests.support.layers import Layout, random_layer, random_rows

SIZES = grid(4096, 1024)


class RandomCosts:
    """Any costs at all."""

    def __init__(self, edges: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.grid = np.cumsum(self.random.integers(1, 9, edges)).astype(np.int64)
        self.heads = self.random.random((edges, edges))
        self.tails = self.random.random((edges, edges, edges))

    def head(self, clusters: int) -> Array:
        return self.heads[clusters]

    def tail(self, index: int) -> Array:
        forwards = self.grid[None, :] > self.grid[:, None]
        return np.where(forwards, self.tails[index], np.inf)


def brute_force(costs: Costs, clusters: int) -> Plan:
    """Every choice of edges, each priced on its own."""
    edges = costs.grid.tolist()
    ways = [(*inner, edges[-1]) for inner in combinations(edges[:-1], clusters)]
    return min((Plan(way, price(costs, way)) for way in ways), key=lambda plan: plan.seconds)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), edges=st.integers(1, 8), data=st.data())
def test_no_choice_of_edges_is_cheaper(seed: int, edges: int, data: st.DataObject) -> None:
    clusters = data.draw(st.integers(0, edges - 1))
    costs = RandomCosts(edges, seed)
    found, expected = cheapest(costs, clusters), brute_force(costs, clusters)
    assert found.cutoffs == expected.cutoffs
    assert found.seconds == pytest.approx(expected.seconds)


TIMES = TimeModels(
    {
        64: TimeModel(1e-5, 3e-9, 900.0, 1e-8),
        16: TimeModel(1e-5, 1e-9, 900.0),
        4: TimeModel(8e-6, 5e-10, 0.0),
    },
    {},
)
ZIPF = 1e6 / np.arange(1, 1001)


@pytest.mark.parametrize("bands", [(), ((16, 200), (4, 1000))])
@pytest.mark.parametrize("clusters", [0, 2, 3])
def test_training_costs_against_brute_force(clusters: int, bands: tuple[tuple[int, int], ...]) -> None:
    edges = candidates(1000, 9, 30, also=[rank for _, rank in bands])
    costs = TrainingCosts(ZIPF, TIMES, Widths(64, bands=bands), 512, edges, 1e-9)
    found, expected = cheapest(costs, clusters), brute_force(costs, clusters)
    assert found.cutoffs == expected.cutoffs
    assert found.seconds == pytest.approx(expected.seconds)


def test_a_training_step_costs_what_its_parts_cost() -> None:
    costs = TrainingCosts(ZIPF, TIMES, Widths(64), 512, candidates(1000, 9, 30), 1e-9)
    low, middle, high = costs.grid[[2, 5, -1]].tolist()
    seconds = float(TIMES.at(64)(low + 2, 512)) + 1e-9 * 64 * (low + 2)
    for start, end, width in ((low, middle, 16), (middle, high, 4)):
        rows = 512 * ZIPF[start:end].sum() / ZIPF.sum()
        some = 1 - np.exp(-rows)
        seconds += some * float(TIMES.at(width)(end - start, rows / some))
        seconds += some * float(TIMES.at(64)(width, rows / some))
        seconds += 1e-9 * width * (end - start + 64)
    assert price(costs, (low, middle, high)) == pytest.approx(seconds)


def test_clusters_stay_in_their_band() -> None:
    widths = Widths(64, bands=((16, 200), (4, 1000)))
    costs = TrainingCosts(ZIPF, TIMES, widths, 512, candidates(1000, 30, 30, also=[200]))
    cutoffs = cheapest(costs, 6).cutoffs
    assert 200 in cutoffs
    with pytest.raises(ValueError, match="1000 words"):
        cheapest(TrainingCosts(ZIPF, TIMES, widths, 512, np.array([30, 100, 1000])), 1)
    # With a short-list that reaches the second band, one cluster will do.
    assert cheapest(costs, 1).cutoffs[0] >= 200


def test_cutoffs_off_the_grid_have_no_price() -> None:
    with pytest.raises(ValueError, match="grid"):
        price(RandomCosts(4, 0), (10**6,))


def test_candidates_ascend_to_the_vocabulary() -> None:
    edges = candidates(1000, 50, 30, also=[123, 5000])
    assert (np.diff(edges) > 0).all()
    assert edges[-1] == 1000
    assert 123 in edges
    assert edges[0] == 30
    assert candidates(5).tolist() == [5]


@pytest.mark.parametrize("columns", [False, True])
def test_the_fit_finds_the_model_that_made_the_points(columns: bool) -> None:
    made = TimeModel(2e-5, 3e-9, 4096.0, 5e-9 if columns else 0.0)
    random = np.random.default_rng(0)
    exact = [Point(k, batch, float(made(k, batch))) for k, batch in SIZES]
    noisy = [Point(p.k, p.batch, p.seconds * random.normal(1, 0.05)) for p in exact]
    assert fit(exact, columns).errors(exact).max() < 1e-3
    model = fit(noisy, columns)
    assert np.median(model.errors(exact)) < 0.03
    assert model.slope == pytest.approx(made.slope, rel=0.1)
    assert fit([*exact[:-1], exact[-1]._replace(seconds=1.0)], columns).errors(exact[:-1]).max() < 0.01


def test_a_fit_needs_points() -> None:
    with pytest.raises(ValueError, match="four"):
        fit([Point(1, 1, 1.0)] * 3)


def test_widths_between_those_measured() -> None:
    between = TIMES.at(40)
    assert between.slope == pytest.approx(2e-9)
    assert TIMES.at(64) == TIMES.fitted[64]
    assert TIMES.at(1000) == TIMES.fitted[64]


@pytest.mark.parametrize("operation", ["product", "training"])
def test_measuring_gives_a_time_for_each_size(operation: str) -> None:
    heard: list[int] = []
    sizes = [(8, 4), (16, 64)]
    points = measure(
        sizes,
        8,
        torch.device("cpu"),
        operation,
        seconds=0.01,
        on_point=heard.append,  # type: ignore[arg-type]
    )
    assert [(point.k, point.batch) for point in points] == sizes
    assert all(point.seconds > 0 for point in points)
    assert heard == [1, 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12))
def test_openings_are_those_of_a_real_search(seed: int, k: int) -> None:
    sizes = torch.randint(1, 9, (7,), generator=torch.Generator().manual_seed(seed)).tolist()
    layout = Layout(12, ((tuple(sizes[:3]), 5), (tuple(sizes[3:]), 3)), excluded=frozenset({0, 14}))
    softmax = random_layer(layout, seed, scale=2.5).double()
    rows = random_rows(20, 8, seed).double()
    edges = np.array(layout.config.cutoffs)
    found = masses([softmax.log_prob(rows[:9]), softmax.log_prob(rows[9:])], edges, [k, 1], softmax.excluded)
    opened = softmax.topk(rows, k).expanded.double().mean(0)
    for cluster in range(7):
        share = found.opened(k)[cluster, cluster + 1]
        assert share == pytest.approx(float(opened[cluster]), abs=0.051)  # a float32 tie: one row of 20
    scored = len(softmax.head) + float(opened @ torch.tensor(sizes, dtype=torch.float64))
    assert price(words_scored(found, k), edges.tolist()) == pytest.approx(scored, abs=0.051 * sum(sizes))


def test_serving_costs_against_brute_force() -> None:
    layout = Layout(12, (((5,) * 6, 5),))
    softmax = random_layer(layout, 3, scale=3.0)
    edges = np.array(layout.config.cutoffs)
    found = masses([softmax.log_prob(random_rows(50, 8, 1))], edges, [10], softmax.excluded)
    for widths in (Widths(64), Widths(64, bands=((16, 27), (4, 42)))):
        costs = ServingCosts(found, 10, TIMES.at(64), TIMES, widths)
        for clusters in (2, 3):
            assert cheapest(costs, clusters).cutoffs == brute_force(costs, clusters).cutoffs
        low, high = pairwise(edges[[0, 3, 6]].tolist())
        head = float(TIMES.at(64)(low[0] + 2, 1))
        tails = found.opened(10)[0, 3] * TIMES.at(16)(15, 1) + found.opened(10)[3, 6] * TIMES.at(4)(15, 1)
        assert price(costs, (*low, high[1])) == pytest.approx(head + float(tails))
