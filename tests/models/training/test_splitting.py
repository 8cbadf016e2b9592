"""A softmax over all words, cut: the same words and odds, and masses as near as a linear head can be."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from models.language_model import LanguageModel
from models.text.vocabulary import Vocabulary
from models.training.recluster import Distillation, fit_rows
from models.training.splitting import (
    check_plain,
    linear_rows,
    most_probable_first,
    renumbered,
    split,
    split_config,
)
from tests.support.layers import random_rows
from tests.support.tiny import tiny_config, tiny_model, tiny_words

CUTOFFS = (40, 60, 90, 150, 280)


def plain(tied: bool = True, biased: bool = True) -> LanguageModel:
    fields = tiny_config(cutoffs=(280,), bands=(), tied=tied).model_dump() | {"head_bias": biased}
    model = tiny_model(type(tiny_config()).model_validate(fields), scale=1.0)
    if model.softmax.head_bias is not None:
        model.softmax.head_bias.normal_()
    return model


def rows(count: int = 400) -> torch.Tensor:
    return random_rows(count, 32, 7) * 0.5 + random_rows(1, 32, 8)


layouts = pytest.mark.parametrize(("tied", "biased"), [(True, True), (False, True), (True, False)])


@layouts
def test_words_by_probability_are_the_same_model(tied: bool, biased: bool) -> None:
    model, hidden, words = plain(tied, biased), rows(), Vocabulary.from_words(tiny_words(280))
    order = most_probable_first(model.softmax, hidden)
    mean = model.softmax.log_prob(hidden).exp().mean(0)
    assert sorted(order.tolist()) == list(range(280))
    assert bool((mean[order].diff() <= 1e-9).all())
    made, renamed = renumbered(model, words, order)
    assert [renamed.word(i) for i in range(280)] == [words.word(i) for i in order.tolist()]
    torch.testing.assert_close(made.softmax.log_prob(hidden), model.softmax.log_prob(hidden)[:, order])
    text = ["the you of Thank very"]
    lengths = torch.tensor([5])
    states = [
        one.encode(torch.tensor(vocabulary.encode_batch(text)), lengths, one.initial_state(1))[0]
        for one, vocabulary in ((model, words), (made, renamed))
    ]
    torch.testing.assert_close(*states)
    assert made.softmax.excluded.nonzero()[:, 0].tolist() == sorted(renamed.special_ids)


@layouts
def test_odds_stay_and_masses_are_fitted(tied: bool, biased: bool) -> None:
    model, hidden = plain(tied, biased), rows()
    data = Distillation.of(model.softmax, hidden, CUTOFFS)
    start = linear_rows(model.softmax, hidden, CUTOFFS)
    fitted = fit_rows(data, start, True, 60)
    assert float(data.divergence(*fitted)) < float(data.divergence(*start)) < 0.3
    made = split(model, CUTOFFS, *fitted)
    old, new = model.softmax.log_prob(hidden), made.softmax.log_prob(hidden)
    divergence = (old.exp() * (old - new)).sum(1).mean()
    assert float(divergence) == pytest.approx(float(data.divergence(*fitted)), abs=1e-5)
    for low, high in pairwise((0, *CUTOFFS)):
        odds = [part[:, low:high] - part[:, low, None] for part in (old, new)]
        torch.testing.assert_close(*odds, atol=1e-4, rtol=1e-4)
    ids = torch.arange(280)[None]
    torch.testing.assert_close(made.embedding(ids), model.embedding(ids))
    assert made.parameter_count() == model.parameter_count() + 4 * 32 + (4 if biased else 44)


def test_the_start_is_the_sum_and_its_slope_at_the_mean() -> None:
    softmax, hidden = plain().softmax, rows()
    weight, bias = linear_rows(softmax, hidden, CUTOFFS)
    mean = hidden.mean(0).requires_grad_()
    for i, (low, high) in enumerate(pairwise(CUTOFFS)):
        wanted = softmax.head_logits(mean[None])[0, low:high].logsumexp(0)
        (slope,) = torch.autograd.grad(wanted, mean)
        torch.testing.assert_close(weight[i], slope, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mean.detach() @ weight[i] + bias[i], wanted.detach(), atol=1e-5, rtol=1e-4)


def test_other_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="no softmax over all words"):
        check_plain(tiny_config())
    fields = tiny_config(cutoffs=(280,), bands=()).model_dump()
    made = type(tiny_config()).model_validate
    with pytest.raises(ValueError, match="head is projected"):
        check_plain(made(fields | {"head_projection": 32}))
    bands = [{"words": 100, "width": 32}, {"words": 180, "width": 8}]
    with pytest.raises(ValueError, match="bands follow the ids"):
        check_plain(made(fields | {"tied": False, "input_bands": bands}))
    for wrong in ((280,), (0, 280)):
        with pytest.raises(ValueError, match="a short-list and one tail cluster or more"):
            split_config(made(fields), wrong)
