"""A trained model with few large tail clusters -> one with many small ones, and almost the same distribution.

The new clusters cut the old ones into stretches; word vectors and projections stay. (Clusters are not joined:
the odds between words of two change with the context as the head says, and no cluster's softmax has them.)
Only the head needs new rows. If the logit of new cluster c' of band b were ``log(mass of c') + log Z`` for
every hidden row, with the mass that the old model gives it, every word's probability would stay as it was.
That is not a linear function of the row, so the new rows are those whose head is nearest to it in
Kullback-Leibler divergence on rows of real text: a softmax regression on the old model's masses, which is
convex. What the divergence leaves is by how much the perplexity grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.config.model import Band, ModelConfig
from models.language_model import LanguageModel
from models.softmax.adaptive_softmax import AdaptiveSoftmax
from models.training.clusters.cutoffs import Costs
from models.training.clusters.timing import Array

MASS_ROWS = 64
"""Rows whose full distribution is in memory at once."""


class Refinement:
    """Costs of plans that keep the short-list as it is, and cut the clusters that there are.

    Args:
        costs: of any plan.
        cutoffs: as they are; all of them edges of the grid.
    """

    def __init__(self, costs: Costs, cutoffs: Sequence[int]) -> None:
        self.costs, self.grid = costs, costs.grid
        self._other: npt.NDArray[np.bool_] = costs.grid != cutoffs[0]
        # Of the cluster that a word at the edge would begin, and of the one that the word before it ends.
        begins = np.searchsorted(cutoffs, self.grid, "right")
        ends = np.searchsorted(cutoffs, self.grid, "left")
        self._joins: npt.NDArray[np.bool_] = begins[:, None] < ends[None, :]

    def head(self, clusters: int) -> Array:
        """See `Costs`."""
        seconds = self.costs.head(clusters).copy()
        seconds[self._other] = float("inf")
        return seconds

    def tail(self, index: int) -> Array:
        """See `Costs`."""
        return np.where(self._joins, np.inf, self.costs.tail(index))


def reclustered_config(config: ModelConfig, cutoffs: Sequence[int]) -> ModelConfig:
    """The configuration with the clusters cut into those of `cutoffs`, in the same bands.

    Raises:
        ValueError: another short-list or vocabulary, or words of two clusters in one.
    """
    if cutoffs[0] != config.cutoffs[0] or cutoffs[-1] != config.cutoffs[-1]:
        raise ValueError(
            f"cutoffs must begin with {config.cutoffs[0]} and end with {config.cutoffs[-1]},"
            f" got {list(cutoffs)}"
        )
    if missing := sorted(set(config.cutoffs) - set(cutoffs)):
        raise ValueError(f"clusters can be cut, not joined: cutoffs must have {missing}, where one ends")
    places = [0, *(list(cutoffs).index(end) for end in config.band_edges[1:])]
    bands = [
        Band(clusters=high - low, width=band.width)
        for band, low, high in zip(config.bands, places, places[1:], strict=False)
    ]
    return ModelConfig.model_validate(
        {**config.model_dump(), "cutoffs": tuple(cutoffs), "bands": [band.model_dump() for band in bands]}
    )


@torch.inference_mode()
def cluster_masses(softmax: AdaptiveSoftmax, hidden: Tensor, cutoffs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Targets for new head columns on `hidden` (N, d): the logarithms of the short-list's mass (N,) and of
    each new cluster's (N, n), by the old layer."""
    edges = torch.tensor(cutoffs, device=hidden.device)
    shortlists, clusters = [], []
    for part in torch.split(hidden, MASS_ROWS):
        logprobs = softmax.log_prob(part)
        shortlists.append(logprobs[:, : cutoffs[0]].logsumexp(1))
        sizes = edges.diff().tolist()
        pieces = torch.split(logprobs[:, cutoffs[0] :], sizes, 1)
        clusters.append(torch.stack([piece.logsumexp(1) for piece in pieces], 1))
    return torch.cat(shortlists), torch.cat(clusters)


@dataclass(frozen=True, slots=True)
class Distillation:
    """Rows to fit the new head on.

    Attributes:
        hidden: (N, d).
        words: (N,) logsumexp of the old head's logits of the short-list, which stay.
        shortlist: (N,) log mass of the short-list, `clusters` (N, n) those of the new clusters.
    """

    hidden: Tensor
    words: Tensor
    shortlist: Tensor
    clusters: Tensor

    @classmethod
    def of(cls, softmax: AdaptiveSoftmax, hidden: Tensor, cutoffs: Sequence[int]) -> Distillation:
        """From the old layer."""
        shortlist, clusters = cluster_masses(softmax, hidden, cutoffs)
        with torch.inference_mode():
            parts = torch.split(hidden, 1024)
            words = torch.cat([softmax.head_logits(p)[:, : cutoffs[0]].logsumexp(1) for p in parts])
        return cls(*(part.clone() for part in (hidden, words, shortlist, clusters)))

    def divergence(self, rows: Tensor, bias: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence, in nats, of the head with cluster `rows` (n, d) and `bias` (n,)
        from the old masses; how much longer the average word's code gets."""
        logits = torch.cat([self.words[:, None], self.hidden @ rows.T + bias], 1)
        wanted = torch.cat([self.shortlist[:, None], self.clusters], 1)
        return (wanted.exp() * (wanted - logits.log_softmax(1))).sum(1).mean()

    def split(self, share: float) -> tuple[Distillation, Distillation]:
        """The first rows, and that share of them from the end."""
        at = int(len(self.hidden) * (1 - share))
        parts = self.hidden, self.words, self.shortlist, self.clusters
        return Distillation(*(p[:at] for p in parts)), Distillation(*(p[at:] for p in parts))


def fit_rows(
    rows: Distillation,
    start: tuple[Tensor, Tensor],
    with_bias: bool,
    iterations: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int, float], None] = lambda _done, _held: None,
    every: int = 10,
) -> tuple[Tensor, Tensor]:
    """Cluster rows (n, d) and biases (n,) of least divergence on nine tenths of `rows`, as they were when the
    rest was nearest.

    Args:
        rows: in random order.
        start: rows and biases to start from.
        with_bias: fit biases; else they stay.
        iterations: of L-BFGS, at most.
        checkpoint: a file that keeps the state every `every` iterations; an interrupted fit goes on from it.
        on_step: is told the iterations done and the divergence on the rest, in nats.
    """
    training, rest = rows.split(0.1)
    weight, bias = (part.clone().requires_grad_() for part in start)
    done, best, kept = 0, float("inf"), (start[0].clone(), start[1].clone())
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["weight"].shape == weight.shape:
            with torch.no_grad():
                weight.copy_(saved["weight"])
                bias.copy_(saved["bias"])
            done, best, kept = saved["done"], saved["best"], tuple(saved["kept"])
    fitted = [weight, bias] if with_bias else [weight]
    while done < iterations:
        optimizer = torch.optim.LBFGS(
            fitted, max_iter=min(every, iterations - done), history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()  # noqa: B023 (called within this turn)
            value = training.divergence(weight, bias)
            torch.autograd.backward(value)
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        done += every
        with torch.no_grad():
            held = float(rest.divergence(weight, bias))
            if held < best:
                improved = best - held
                best, kept = held, (weight.detach().clone(), bias.detach().clone())
            else:
                improved = 0.0
        on_step(min(done, iterations), best)
        if checkpoint is not None:
            unfinished = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "weight": weight.detach(),
                    "bias": bias.detach(),
                    "done": done,
                    "best": best,
                    "kept": list(kept),
                },
                unfinished,
            )
            unfinished.replace(checkpoint)
        if improved < 1e-5:
            break
    return kept


def starting_rows(softmax: AdaptiveSoftmax, cutoffs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """For each new cluster the row and bias of the old one that its first word is in."""
    edges = torch.tensor(softmax.cutoffs)
    old = torch.searchsorted(edges, torch.tensor(cutoffs[:-1]), right=True) - 1
    rows = softmax.head_weight()[softmax.shortlist :].detach().float()
    biases = (
        rows.new_zeros(len(rows)) if softmax.head_bias is None else softmax.head_bias[softmax.shortlist :]
    )
    return rows[old].clone(), biases[old].detach().float().clone()


def assemble(model: LanguageModel, cutoffs: Sequence[int], rows: Tensor, bias: Tensor) -> LanguageModel:
    """The model with the new clusters: its weights, and the given cluster rows and, if it has any, biases."""
    config = reclustered_config(model.config, cutoffs)
    excluded = frozenset(model.softmax.excluded.nonzero()[:, 0].tolist())
    made = LanguageModel(config, excluded).to(model.device)
    weights = dict(model.state_dict())
    shortlist = model.softmax.shortlist
    if model.softmax.clusters is None:
        weights["softmax.head"] = torch.cat([weights["softmax.head"][:shortlist], rows.to(model.device)])
    else:
        weights["softmax.clusters"] = rows
    if model.softmax.head_bias is not None:
        weights["softmax.head_bias"] = torch.cat(
            [weights["softmax.head_bias"][:shortlist], bias.to(model.device)]
        )
    made.load_state_dict(weights)
    made.eval().requires_grad_(False)
    return made
