"""What a trained model is measured by: perplexity, also by frequency, and what an exact top-k costs it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.training.corpus import Tokens
from models.training.evaluation import hidden_rows


@torch.inference_mode()
def perplexities(
    model: LanguageModel,
    lines: list[Tokens],
    end_id: int,
    counts: npt.NDArray[np.int64],
    edges: Sequence[int],
) -> dict[str, Any]:
    """Perplexity of all words of `lines`, and of those whose id lies between each two of `edges`.

    Beside each band's that of the words' frequencies alone, `counts` with one added: a model that is no
    better has not learned when those words come.
    """
    logprobs, targets = [], []
    for hidden, words in hidden_rows(model, lines, end_id):
        logprobs.append(model.target_logprobs(hidden, words).double().cpu())
        targets.append(words.cpu())
    found, words = torch.cat(logprobs), torch.cat(targets)
    frequencies = torch.from_numpy(counts + 1.0)
    unigram = (frequencies / frequencies.sum()).log()[words]
    bands = []
    for low, high in pairwise(edges):
        inside = (words >= low) & (words < high)
        if bool(inside.any()):
            bands.append(
                {
                    "ranks": [low, high],
                    "words": int(inside.sum()),
                    "perplexity": _perplexity(found[inside]),
                    "unigram": _perplexity(unigram[inside]),
                }
            )
    return {"words": len(words), "perplexity": _perplexity(found), "bands": bands}


def _perplexity(logprobs: Tensor) -> float:
    return round(math.exp(-logprobs.mean().item()), 3)


@torch.inference_mode()
def rows_of(model: LanguageModel, lines: list[Tokens], end_id: int, count: int) -> Tensor:
    """(count, d) hidden rows on text, in random order."""
    rows = torch.cat([hidden for hidden, _ in hidden_rows(model, lines, end_id)])
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))][:count]


@torch.inference_mode()
def scored(model: LanguageModel, rows: Tensor, k: int) -> dict[str, float]:
    """Of exact top-k: the share of rows that open a cluster, clusters opened and words scored a row."""
    sizes = torch.tensor(model.softmax.cluster_sizes, dtype=torch.float64)
    opened = torch.cat([model.topk(part, k).expanded.cpu() for part in torch.split(rows, 64)]).double()
    columns = model.softmax.shortlist + model.softmax.n_clusters
    return {
        "rows_that_open": round(opened.any(1).double().mean().item(), 4) if len(sizes) else 0.0,
        "clusters_opened": round(opened.sum(1).mean().item(), 3),
        "words_scored": round(columns + (opened @ sizes).mean().item(), 1),
    }


@torch.inference_mode()
def top_seconds(model: LanguageModel, rows: Tensor, k: int, batch: int, seconds: float = 2.0) -> float:
    """Median seconds of an exact top-k of `batch` rows: the output layer alone, until the host has it."""
    model.topk(rows[:batch], k)
    times: list[float] = []
    at = 0
    while len(times) < 20 or (sum(times) < seconds and len(times) < 2000):
        part = rows[at : at + batch]
        at = (at + batch) % (len(rows) - batch)
        start = perf_counter()
        model.topk(part, k).ids.cpu()
        times.append(perf_counter() - start)
    return median(times)
