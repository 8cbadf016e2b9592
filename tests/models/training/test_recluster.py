"""Reclustering: what must stay stays, the fit lowers the true divergence, and an interrupted one goes on."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from models.language_model import LanguageModel
from models.training.clusters.cutoffs import cheapest, price
from models.training.clusters.serving_costs import masses, words_scored
from models.training.recluster import (
    Distillation,
    Refinement,
    assemble,
    cluster_masses,
    fit_rows,
    reclustered_config,
    starting_rows,
)
from tests.support.layers import random_rows
from tests.support.tiny import tiny_config, tiny_model

NEW = (40, 60, 75, 90, 120, 140, 160, 180, 210, 240, 280)


def few() -> LanguageModel:
    return tiny_model(tiny_config(cutoffs=(40, 120, 280), bands=((1, 16), (1, 8))), scale=1.5)


def rows(count: int = 400) -> torch.Tensor:
    # Like hidden rows of a body they have a mean, which can serve as a bias.
    return random_rows(count, 32, 7) * 0.5 + random_rows(1, 32, 8)


def test_bands_keep_their_words() -> None:
    config = reclustered_config(few().config, NEW)
    assert [(band.clusters, band.width) for band in config.bands] == [(4, 16), (6, 8)]
    assert config.band_edges == (40, 120, 280)
    for wrong in ((30, 120, 280), (40, 130, 280), (40, 120, 270)):
        with pytest.raises(ValueError, match=r"begin with|not joined"):
            reclustered_config(few().config, wrong)


def test_masses_are_those_of_the_words() -> None:
    softmax = few().softmax
    hidden = rows(70)
    shortlist, clusters = cluster_masses(softmax, hidden, NEW)
    probabilities = softmax.log_prob(hidden).exp()
    torch.testing.assert_close(shortlist.exp(), probabilities[:, :40].sum(1))
    torch.testing.assert_close(clusters[:, 3].exp(), probabilities[:, 90:120].sum(1))
    torch.testing.assert_close(shortlist.exp() + clusters.exp().sum(1), torch.ones(70))


def test_the_same_clusters_give_the_same_model() -> None:
    model = few()
    made = assemble(model, model.config.cutoffs, *starting_rows(model.softmax, model.config.cutoffs))
    assert made.config == model.config
    assert all(torch.equal(made.state_dict()[name], value) for name, value in model.state_dict().items())
    found = Distillation.of(model.softmax, rows(), model.config.cutoffs)
    assert float(found.divergence(*starting_rows(model.softmax, model.config.cutoffs))) < 1e-6


def test_the_fit_lowers_the_divergence_of_the_words() -> None:
    model, hidden = few(), rows()
    data = Distillation.of(model.softmax, hidden, NEW)
    start = starting_rows(model.softmax, NEW)
    fitted = fit_rows(data, start, False, 60)
    assert float(data.divergence(*fitted)) < 0.4 * float(data.divergence(*start))
    assert torch.equal(fitted[1], start[1])
    made = assemble(model, NEW, *fitted)
    old, new = model.softmax.log_prob(hidden), made.softmax.log_prob(hidden)
    divergence = (old.exp() * (old - new)).sum(1).mean()
    assert float(divergence) == pytest.approx(float(data.divergence(*fitted)), abs=1e-5)
    # Within a new cluster, and within the short-list, odds are what they were.
    for low, high in ((0, 40), (60, 75), (240, 280)):
        odds = [part[:, low:high] - part[:, low, None] for part in (old, new)]
        torch.testing.assert_close(*odds, atol=1e-4, rtol=1e-4)


def test_an_interrupted_fit_goes_on(tmp_path: Path) -> None:
    model = few()
    data, start = Distillation.of(model.softmax, rows(), NEW), starting_rows(model.softmax, NEW)
    whole = fit_rows(data, start, True, 40)
    heard: list[int] = []
    fit_rows(data, start, True, 20, tmp_path / "head.pt")
    found = fit_rows(data, start, True, 40, tmp_path / "head.pt", lambda done, _: heard.append(done))
    assert heard == [30, 40]
    for one, other in zip(whole, found, strict=True):
        torch.testing.assert_close(one, other)


def test_what_was_two_clusters_is_not_made_one() -> None:
    """Even of one band: the odds between their words are none of a cluster's."""
    config = reclustered_config(few().config, NEW)
    with pytest.raises(ValueError, match=r"cutoffs must have \[60, 140\]"):
        reclustered_config(config, [edge for edge in NEW if edge not in (60, 140)])


@pytest.mark.parametrize("clusters", [3, 4, 5, 6])
def test_plans_cut_the_clusters_that_there_are(clusters: int) -> None:
    softmax, old = few().softmax, (60, 110, 200, 280)
    edges = [40, 60, 80, 90, 110, 120, 160, 200, 250, 280]
    found = masses([softmax.log_prob(rows(50))], np.array(edges), [5], softmax.excluded)
    costs = words_scored(found, 5)
    plan = cheapest(Refinement(costs, old), clusters)
    ways = [
        tuple(sorted({*old, *more})) for more in combinations(sorted({*edges[2:]} - {*old}), clusters - 3)
    ]
    assert plan.seconds == pytest.approx(min(price(costs, way) for way in ways))
    assert plan.cutoffs in ways
    with pytest.raises(ValueError, match="do not fit"):
        cheapest(Refinement(costs, old), 2)
