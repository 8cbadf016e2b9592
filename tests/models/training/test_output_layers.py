"""The layers that the adaptive softmax is compared with: each against brute force, trained, saved, served."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from models.bundle import Bundle
from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from models.kernels.choice import choose
from models.language_model import LanguageModel
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.softmax.differentiated_softmax import DifferentiatedSoftmax
from models.text.vocabulary import Vocabulary
from models.training.clusters.cutoffs import equal_mass_cutoffs
from models.training.layer import Layer
from models.training.output_layers import layer_fields
from tests.support.layers import brute_force, questions, random_rows
from tests.support.tiny import tiny_words

COUNTS = 1000 // np.arange(1, 61)
EXCLUDED = frozenset({0, 33})
BODY = LSTMConfig(layers=1, units=9)


def config(layer: Layer) -> ModelConfig:
    fields = layer_fields(
        layer, COUNTS, 16, (20, 40, 60), (Band(clusters=1, width=6), Band(clusters=1, width=3))
    )
    return ModelConfig(vocabulary_size=60, hidden_size=16, body=BODY, **fields)


def peaked(layer: Layer, seed: int) -> AdaptiveSoftmax:
    torch.manual_seed(seed)
    softmax = LanguageModel(config(layer), EXCLUDED).softmax.requires_grad_(False)
    for weight in softmax.parameters():
        weight.mul_(2)
    return softmax


def plain(softmax: AdaptiveSoftmax, layer: Layer, hidden: Tensor) -> Tensor:
    """(N, 60) log-probabilities from the raw weights, by each layer's definition."""
    hidden = hidden.double()
    differentiated = isinstance(softmax, DifferentiatedSoftmax)
    tails = [tail.double() for tail in (softmax.band_tables if differentiated else softmax.tails)]
    shared = softmax.band_projections if differentiated else softmax.projections
    projections = [projection.double() for projection in shared]
    head = softmax.head.double()
    if layer is Layer.FULL:
        return (hidden @ head.T).log_softmax(1)
    if layer is Layer.DIFFERENTIATED:
        logits = [hidden[:, :7] @ head.T, hidden[:, 7:13] @ tails[0].T, hidden[:, 13:] @ tails[1].T]
        return torch.cat(logits, 1).log_softmax(1)
    if layer is Layer.PROJECTED:
        logits = [hidden @ head.T, *(hidden @ p.T @ t.T for p, t in zip(projections, tails, strict=True))]
        return torch.cat(logits, 1).log_softmax(1)
    if layer is Layer.TREE:
        edges = softmax.cutoffs
        clusters = (hidden @ head.T).log_softmax(1)
        parts = [
            clusters[:, c, None] + (hidden @ tails[0][edges[c] : edges[c + 1]].T).log_softmax(1)
            for c in range(len(edges) - 1)
        ]
        return torch.cat(parts, 1)
    head_logprobs = (hidden @ head.T).log_softmax(1)
    parts = [head_logprobs[:, :20]]
    for c, (p, t) in enumerate(zip(projections, tails, strict=True)):
        parts.append(head_logprobs[:, 20 + c, None] + (hidden @ p.T @ t.T).log_softmax(1))
    return torch.cat(parts, 1)


@pytest.mark.parametrize("layer", Layer)
def test_log_probabilities_by_definition(layer: Layer) -> None:
    softmax, hidden = peaked(layer, 1), random_rows(12, 16, 2)
    expected = plain(softmax, layer, hidden)
    found = softmax.log_prob(hidden).double()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(12, dtype=torch.float64))
    targets = torch.arange(12) * 5
    for chunk in (None, 64, 1 << 20):
        scored = softmax.target_logprobs(hidden, targets, chunk).double()
        torch.testing.assert_close(scored, expected.gather(1, targets[:, None])[:, 0], atol=2e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(layer=st.sampled_from(Layer), seed=st.integers(0, 10**6), data=st.data())
def test_topk_by_brute_force(layer: Layer, seed: int, data: st.DataObject) -> None:
    softmax, hidden = peaked(layer, seed), random_rows(4, 16, seed)

    class Size:
        vocabulary_size = 60

    ks, allowed = data.draw(questions(Size(), 4))  # type: ignore[arg-type]
    found = softmax.topk(hidden, ks, allowed)
    logprobs = softmax.log_prob(hidden)
    for row, k in enumerate(ks):
        expected = brute_force(logprobs[row].tolist(), k, EXCLUDED, None if allowed is None else allowed[row])
        ids = [i for i in found.ids[row].tolist() if i >= 0]
        assert ids == [i for i, _ in expected]
        values = torch.tensor([value for _, value in expected])
        torch.testing.assert_close(found.logprobs[row, : len(ids)], values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", Layer)
def test_the_kernel_that_serves_agrees(layer: Layer) -> None:
    softmax, hidden = peaked(layer, 5), random_rows(9, 16, 6)
    choice = choose(softmax, "cpu")
    torch.testing.assert_close(choice.exact.topk(hidden, 7).ids, softmax.topk(hidden, 7).ids)
    torch.testing.assert_close(
        choice.exact.topk(hidden, 7).logprobs, softmax.topk(hidden, 7).logprobs, atol=1e-4, rtol=1e-5
    )
    assert (layer is Layer.TREE) == ("two-level tree" in choice.reason)


@pytest.mark.parametrize("layer", Layer)
def test_a_bundle_of_it_loads_and_answers_alike(layer: Layer, tmp_path: Path) -> None:
    torch.manual_seed(3)
    vocabulary = Vocabulary.from_words(tiny_words(60))
    model = LanguageModel(config(layer), vocabulary.special_ids).eval()
    Bundle.save(tmp_path / "model", model, vocabulary, dtype=torch.float32)
    bundle = Bundle.load(tmp_path / "model", "cpu")
    assert isinstance(bundle.model.softmax, DifferentiatedSoftmax) == layer.startswith("differentiated")
    ids, lengths = torch.tensor([[1, 5, 40, 59]]), torch.tensor([4])
    with torch.inference_mode():
        hidden, _ = bundle.model.encode(ids, lengths, bundle.model.initial_state(1))
        expected, _ = model.encode(ids, lengths, model.initial_state(1))
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
        assert bundle.model.topk(hidden[0], 5).ids.tolist() == model.topk(expected[0], 5).ids.tolist()


def test_leaves_of_a_tree_have_equal_shares() -> None:
    edges = equal_mass_cutoffs(COUNTS, 8)
    assert edges[0] == 0
    assert edges[-1] == 60
    shares = np.add.reduceat(COUNTS, edges[:-1]) / COUNTS.sum()
    assert all(
        share < 0.2 or end - start == 1 for share, start, end in zip(shares, edges, edges[1:], strict=False)
    )
    assert equal_mass_cutoffs([1, 1, 1, 1], 2) == (0, 2, 4)
    assert equal_mass_cutoffs([5, 1, 1], 3) == (0, 1, 3)
    assert equal_mass_cutoffs([5, 4], 9) == (0, 1, 2)


def test_layers_share_short_list_and_bands() -> None:
    bands = (Band(clusters=2, width=6), Band(clusters=1, width=3))
    fields = layer_fields(Layer.PROJECTED, COUNTS, 16, (20, 30, 40, 60), bands)
    assert [(band.words, band.width) for band in fields["output_bands"]] == [(20, 16), (20, 6), (20, 3)]
    with pytest.raises(ValueError, match="leave nothing"):
        layer_fields(Layer.DIFFERENTIATED, COUNTS, 9, (20, 30, 40, 60), bands)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"tied": True}, "not tied"),
        ({"cutoffs": (20, 60), "bands": (Band(clusters=1, width=4),)}, "no clusters"),
        ({"output_bands": ()}, "hold 0 words"),
        ({"output_bands": ({"words": 60, "width": 15},)}, "slices are 15 wide"),
        ({"output_bands": ({"words": 60, "width": 15},), "output_slices": False}, "must be hidden_size"),
        ({"output": "adaptive"}, "output_bands are for"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], fault: str) -> None:
    fields = config(Layer.DIFFERENTIATED).model_dump()
    with pytest.raises(ValidationError, match=fault):
        ModelConfig.model_validate({**fields, **change})


def test_slices_follow_one_another() -> None:
    softmax = peaked(Layer.DIFFERENTIATED, 1)
    assert isinstance(softmax, DifferentiatedSoftmax)
    assert softmax.slices is not None
    assert [part.stop for part in softmax.slices] == list(accumulate((7, 6, 3)))
    hidden = random_rows(3, 16, 4)
    torch.testing.assert_close(hidden @ softmax.head_weight().T, softmax.head_logits(hidden))
