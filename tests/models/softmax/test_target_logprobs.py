"""Scoring of given words: equal to torch's module, with its gradients, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.softmax.adaptive_softmax import CHUNK_ELEMENTS, AdaptiveSoftmax
from tests.support.layers import (
    Layout,
    even,
    layouts,
    plain_log_prob,
    random_layer,
    random_rows,
    torch_module,
)

seeds = st.integers(0, 2**32)


class LargestTensor(TorchDispatchMode):
    """The elements of the largest tensor that an operation made; what was there before does not count."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.elements = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in self.known:
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
        return out


def random_targets(layout: Layout, rows: int, seed: int) -> Tensor:
    return torch.randint(0, layout.vocabulary_size, (rows,), generator=torch.Generator().manual_seed(seed))


def largest_tensor(softmax: AdaptiveSoftmax, hidden: Tensor, targets: Tensor, chunk_elements: int) -> int:
    with LargestTensor(hidden, targets, *softmax.parameters()) as watch:
        softmax.target_logprobs(hidden, targets, chunk_elements)
    return watch.elements


@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("sizes", [(7,), (5, 20), (3, 9, 40)])
def test_it_is_the_output_of_torch(sizes: tuple[int, ...], head_bias: bool) -> None:
    bands = tuple(((size,), 16 // 2 ** (i + 1)) for i, size in enumerate(sizes))
    layout = Layout(10, bands, hidden_size=16, head_bias=head_bias)
    softmax = random_layer(layout, seed=3, scale=2.0)
    targets = torch.arange(layout.vocabulary_size)
    hidden = random_rows(len(targets), 16, seed=4)
    wanted = torch_module(softmax, layout)(hidden, targets).output
    torch.testing.assert_close(softmax.target_logprobs(hidden, targets), wanted, atol=1e-5, rtol=0)


@given(layouts(), st.integers(0, 40), seeds, st.sampled_from([None, 1, 50, CHUNK_ELEMENTS]), st.booleans())
def test_it_is_the_papers_formula(
    layout: Layout, rows: int, seed: int, chunk_elements: int | None, half: bool
) -> None:
    softmax = random_layer(layout, seed).to(torch.bfloat16 if half else torch.float32)
    hidden, targets = random_rows(rows, layout.hidden_size, seed + 1), random_targets(layout, rows, seed)
    wanted = plain_log_prob(softmax, layout, hidden.double()).gather(1, targets[:, None])[:, 0].float()
    found = softmax.target_logprobs(hidden, targets, chunk_elements)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-6)


@given(layouts(), st.integers(1, 20), seeds)
def test_gradients_are_those_of_a_plain_log_softmax(layout: Layout, rows: int, seed: int) -> None:
    softmax = random_layer(layout, seed).requires_grad_(True)
    hidden = random_rows(rows, layout.hidden_size, seed + 1).requires_grad_()
    targets = random_targets(layout, rows, seed)
    weights = [hidden, *softmax.parameters()]
    plain = plain_log_prob(softmax, layout, hidden).gather(1, targets[:, None]).mean()
    wanted = torch.autograd.grad(plain, weights, materialize_grads=True)
    found = torch.autograd.grad(
        softmax.target_logprobs(hidden, targets, None).mean(), weights, materialize_grads=True
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "layout",
    [
        even(shortlist=300, clusters=12, size=50),
        Layout(400, hidden_size=8),
        Layout(2, (((900,), 4), ((30, 5), 2)), hidden_size=8),
        Layout(2, (((3, 3), 2),), hidden_size=128),  # a head narrower than the hidden row
    ],
)
def test_memory_is_bounded_by_the_chunk_whatever_the_rows(layout: Layout) -> None:
    softmax = random_layer(layout, seed=0)
    targets = random_targets(layout, 3000, seed=2)
    hidden = random_rows(len(targets), layout.hidden_size, seed=1)
    for chunk_elements in (4096, 16384):
        assert largest_tensor(softmax, hidden, targets, chunk_elements) <= chunk_elements
    # The watch sees what it should: all rows at once hold at least the head's logits.
    assert largest_tensor(softmax, hidden, targets, 1 << 40) >= 3000 * len(softmax.head)


def test_only_the_clusters_of_the_targets_are_opened() -> None:
    layout = even(shortlist=10, clusters=3, size=4)
    softmax = random_layer(layout, seed=0)
    softmax.tails[0][4:8] = torch.nan  # cluster 1
    hidden = random_rows(4, 8, seed=1)
    assert softmax.target_logprobs(hidden, torch.tensor([0, 9, 10, 20])).isfinite().all()
    assert softmax.target_logprobs(hidden, torch.tensor([0, 9, 14, 20])).isnan().tolist() == [
        False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("target", [-1, 22])
def test_a_target_outside_the_vocabulary(target: int) -> None:
    softmax = random_layer(even(shortlist=10, clusters=3, size=4), seed=0)
    with pytest.raises(IndexError, match=r"targets must be in 0\.\.21"):
        softmax.target_logprobs(torch.zeros(2, 8), torch.tensor([0, target]))


def test_a_row_is_scored_the_same_among_others() -> None:
    layout = even(shortlist=10, clusters=6, size=4)
    softmax = random_layer(layout, seed=0)
    targets = torch.arange(layout.vocabulary_size).flip(0)
    hidden = random_rows(len(targets), 8, seed=1)
    together = softmax.target_logprobs(hidden, targets)
    alone = torch.cat(
        [softmax.target_logprobs(h, t) for h, t in zip(hidden.split(1), targets.split(1), strict=True)]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
