"""The layouts of published models: what shares which weights, against plain formulas and in every kernel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.config.bodies import LSTMConfig
from models.config.model import Band, InputBand, ModelConfig
from models.kernels.cpu.kernel import CpuKernel
from models.kernels.cpu.library import KernelError, load
from models.kernels.triton.weights import PackedWeights
from models.language_model import LanguageModel

V, D = 60, 12
CUTOFFS = (14, 27, 45, V)
BANDS = (Band(clusters=1, width=6), Band(clusters=2, width=3))
WIDE = (Band(clusters=1, width=D), Band(clusters=2, width=D))


def config(**fields: Any) -> ModelConfig:
    return ModelConfig(
        **{
            "vocabulary_size": V,
            "hidden_size": D,
            "cutoffs": CUTOFFS,
            "bands": BANDS,
            "body": LSTMConfig(layers=1, units=D),
            **fields,
        }
    )


LAYOUTS: dict[str, ModelConfig] = {
    "ours": config(),
    "fairseq's wiki103": config(tied_projections=True, input_head_projection=True, embedding_scale=3.5),
    "fairseq's with a projected head": config(head_projection=8, input_head_projection=True),
    "Transformer-XL's wt103": config(
        head_projection=D, tied_projections=True, input_head_projection=True, head_bias=True, tail_bias=True
    ),
    "Transformer-XL's without a factor": config(
        bands=WIDE, tail_projections=False, head_bias=True, tail_bias=True
    ),
    "torch's after a plain embedding": config(
        tied=False, embedding_size=7, input_bands=(InputBand(words=V, width=7),)
    ),
    "torch's with words without vectors": config(
        bands=(Band(clusters=1, width=6), Band(clusters=2, width=0)),
        tied=False,
        input_bands=(InputBand(words=V, width=D),),
    ),
    "words without vectors, tied and with biases": config(
        bands=(Band(clusters=2, width=0), Band(clusters=1, width=3)), head_bias=True, tail_bias=True
    ),
    "an input cut elsewhere": config(
        tied=False,
        embedding_size=10,
        input_head_projection=True,
        input_bands=(InputBand(words=20, width=9), InputBand(words=40, width=4)),
    ),
    "two tables, no projections": config(tied=False, bands=WIDE, tail_projections=False),
    "a wide input into tied tables": config(embedding_size=20, input_head_projection=True),
    "plain softmax with a projected head": config(
        cutoffs=(V,), bands=(), head_projection=5, embedding_size=5
    ),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def build(layout: ModelConfig) -> LanguageModel:
    torch.manual_seed(4)
    model = LanguageModel(layout, frozenset({3, 30})).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.normal_(0, 0.6)
    return model


def double(weights: dict[str, Tensor], name: str) -> Tensor:
    return weights[name].double()


def plain_logprobs(layout: ModelConfig, weights: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """(N, V): the head, then each cluster, from the weights' names alone."""
    h, n = hidden.double(), len(layout.cutoffs) - 1
    words = double(weights, "softmax.head")
    if layout.head_projection is None:
        logits = h @ words.T
    else:
        logits = h @ double(weights, "softmax.head_projection").T @ words.T
        logits = torch.cat([logits, h @ double(weights, "softmax.clusters").T], 1)
    if layout.head_bias:
        logits = logits + double(weights, "softmax.head_bias")
    head = logits.log_softmax(1)
    columns, cluster = [head[:, : layout.cutoffs[0]]], 0
    for b, band in enumerate(layout.bands):
        rows = h @ double(weights, f"softmax.projections.{b}").T if layout.tail_projections else h
        tail = rows @ double(weights, f"softmax.tails.{b}").T
        if layout.tail_bias:
            tail = tail + double(weights, f"softmax.tail_biases.{b}")
        edges = layout.cutoffs[cluster : cluster + band.clusters + 1]
        for low, high in pairwise(edges):
            part = tail[:, low - edges[0] : high - edges[0]].log_softmax(1)
            columns.append(head[:, layout.cutoffs[0] + cluster, None] + part)
            cluster += 1
    assert cluster == n
    return torch.cat(columns, 1).float()


def plain_vector(layout: ModelConfig, weights: dict[str, Tensor], word: int) -> Tensor:
    """(e,) the vector of one word."""
    edges = layout.input_edges
    band = sum(edge <= word for edge in edges)
    place = "softmax" if layout.tied else "embedding"
    name = f"{place}.head" if band == 0 else f"{place}.tails.{band - 1}"
    row = weights[name][word - (edges[band - 1] if band else 0)]
    if band == 0 and layout.input_head_projection:
        row = weights["embedding.head_projection"] @ row
    elif band and layout.tied_projections:
        row = weights[f"softmax.projections.{band - 1}"].T @ row
    elif band and (layout.input_bands or layout.tail_projections):
        row = weights[f"embedding.projections.{band - 1}"] @ row
    return row * layout.embedding_scale


@layouts
def test_log_probabilities_are_the_formula_s(layout: ModelConfig) -> None:
    model = build(layout)
    hidden = torch.randn(7, D, generator=torch.Generator().manual_seed(1))
    want = plain_logprobs(layout, model.state_dict(), hidden)
    torch.testing.assert_close(model.softmax.log_prob(hidden), want, atol=1e-5, rtol=0)
    words = torch.arange(V)
    for row, logprobs in zip(hidden, want, strict=True):
        scores = model.softmax.target_logprobs(row.expand(V, -1), words)
        torch.testing.assert_close(scores, logprobs, atol=1e-5, rtol=0)


@layouts
def test_vectors_are_the_formula_s(layout: ModelConfig) -> None:
    model = build(layout)
    weights = model.state_dict()
    vectors = model.embedding(torch.arange(V))
    assert vectors.shape == (V, layout.input_size)
    for word in range(V):
        torch.testing.assert_close(vectors[word], plain_vector(layout, weights, word))


@layouts
def test_kernels_answer_as_the_reference(layout: ModelConfig) -> None:
    try:
        load()
    except KernelError:
        pytest.skip("the C++ extension is not built")
    model = build(layout)
    hidden = 2 * torch.randn(9, D, generator=torch.Generator().manual_seed(2))
    for mode in ("exact", "fast"):
        kernel = CpuKernel(model.softmax, mode)
        want, got = model.softmax.topk(hidden, 20), kernel.topk(hidden, 20)
        assert torch.equal(got.ids, want.ids)
        if mode == "exact":
            torch.testing.assert_close(got.logprobs, want.logprobs, atol=1e-4, rtol=0)
            targets = torch.arange(9) * 6
            torch.testing.assert_close(
                kernel.target_logprobs(hidden, targets),
                model.softmax.target_logprobs(hidden, targets),
                atol=1e-4,
                rtol=0,
            )


@layouts
def test_the_gpu_s_weights_give_the_same_logits(layout: ModelConfig) -> None:
    """What the Triton kernels multiply with, multiplied here."""
    softmax = build(layout).softmax
    packed = PackedWeights(softmax, torch.float32)
    hidden = torch.randn(3, D, generator=torch.Generator().manual_seed(3))
    logits = hidden @ packed.head[:, :D].T + packed.bias
    want = softmax.head_logits(hidden)
    words = [i for i in range(layout.cutoffs[0]) if i != 3]
    columns = packed.head_columns[words].long()
    torch.testing.assert_close(logits[:, columns], want[:, words])
    n = layout.n_clusters
    clusters = slice(packed.cluster_column, packed.cluster_column + n)
    torch.testing.assert_close(logits[:, clusters], want[:, layout.cutoffs[0] :])
    for cluster in range(n):
        band = softmax.band_of[cluster]
        column, width = int(packed.clusters[4, cluster]), softmax.tails[band].shape[1]
        torch.testing.assert_close(logits[:, column : column + width], softmax.project(hidden, band))


@layouts
def test_a_text_runs_and_its_weights_are_all_used(layout: ModelConfig) -> None:
    model = build(layout).requires_grad_()
    ids = torch.arange(V)[None]
    hidden, _ = model.encode(ids, torch.tensor([V]), model.initial_state(1))
    assert hidden.shape == (1, V, D)
    model.softmax.target_logprobs(hidden[0], ids[0].roll(-1)).sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


FAULTS: dict[str, tuple[Callable[[], ModelConfig], str]] = {
    "tied projections of another size": (
        lambda: config(tied_projections=True, embedding_size=9, input_head_projection=True),
        r"tied_projections needs embedding_size \(9\) to be hidden_size \(12\)",
    ),
    "tied projections without tables": (
        lambda: config(tied_projections=True, tied=False),
        "tied_projections needs tied and tail_projections",
    ),
    "no projections, narrow bands": (
        lambda: config(tail_projections=False),
        r"every band must be hidden_size \(12\) wide",
    ),
    "projected head without projections": (
        lambda: config(tail_projections=False, bands=WIDE, head_projection=4),
        "head_projection needs tail_projections",
    ),
    "input bands beside tied tables": (
        lambda: config(input_bands=(InputBand(words=V, width=D),)),
        "input_bands are for models that are not tied",
    ),
    "input bands of other words": (
        lambda: config(tied=False, input_bands=(InputBand(words=9, width=D),)),
        "input_bands hold 9 words, vocabulary_size is 60",
    ),
    "vectors that nothing brings to size": (
        lambda: config(head_projection=5),
        r"input band 0 are 5 wide, not embedding_size \(12\), and nothing projects them",
    ),
    "the end is never predicted": (
        lambda: config(special_words=("</s>",)),
        "must not be one of special_words",
    ),
}


@pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_layout_that_cannot_be_is_refused(make: Callable[[], ModelConfig], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()
