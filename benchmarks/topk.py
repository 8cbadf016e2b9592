"""Exact top-k on the default model's own hidden rows: ``python -m benchmarks.topk FILE``.

Ours (the kernel that serves), this project's reference on torch's operators, torch's own
`AdaptiveLogSoftmaxWithLoss.log_prob` and topk on the same weights, and a full softmax of the same vocabulary
and width (random weights: its time does not depend on them). All float32 with all threads, run in turn in
each round; medians. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from models.adaptive_softmax import TopK
from models.bundle import DEFAULT, Bundle
from models.language_model import LanguageModel
from models.training.corpus import lines


def torch_module(model: LanguageModel) -> nn.AdaptiveLogSoftmaxWithLoss:
    """torch's own module with the weights of `model`; each tail has its band's projection."""
    softmax, cutoffs = model.softmax, model.config.cutoffs
    module = nn.AdaptiveLogSoftmaxWithLoss(model.config.hidden_size, cutoffs[-1], list(cutoffs[:-1]), 1.0)
    module.head.weight.data = softmax.head.data
    for cluster, (low, high) in enumerate(pairwise(cutoffs)):
        band = softmax.band_of[cluster]
        start = low - model.config.band_edges[band]
        tail = module.tail[cluster]
        tail[0].weight.data = softmax.projections[band].data
        tail[1].weight.data = softmax.tails[band].data[start : start + high - low]
    return module.eval().requires_grad_(False)


def real_rows(bundle: Bundle, file: Path, count: int) -> Tensor:
    """(count, d) hidden rows after the words of the first lines of a text."""
    model, parts = bundle.model, []
    for line in lines(file):
        ids = torch.tensor([[bundle.vocabulary.end_id, *bundle.vocabulary.encode_batch([line])[0]]])
        parts.append(model.encode(ids, torch.tensor([ids.shape[1]]), model.initial_state(1))[0][0])
        if sum(map(len, parts)) >= count:
            break
    rows = torch.cat(parts)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))][:count]


def measure(
    candidates: dict[str, Callable[[Tensor, int], object]], rows: Tensor, batch: int, k: int, rounds: int
) -> dict[str, object]:
    """Medians in milliseconds, after a first round that is not counted, and how much slower than ours."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    opened = []
    for turn in range(rounds + 1):
        at = turn * batch % (len(rows) - batch)
        hidden = rows[at : at + batch]
        for name, run in candidates.items():
            start = perf_counter()
            found = run(hidden, k)
            if turn:
                times[name].append((perf_counter() - start) * 1e3)
            if isinstance(found, TopK) and name == "ours":
                opened.append(found.expanded.double().sum(1).mean().item())
    medians = {name: median(values) for name, values in times.items()}
    return {
        "batch": batch,
        "k": k,
        "clusters_opened": round(sum(opened) / len(opened), 2),
        **{f"{name}_ms": round(value, 4) for name, value in medians.items()},
        "ratios": {name: round(v / medians["ours"], 1) for name, v in medians.items() if name != "ours"},
    }


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    bundle = Bundle.load(args.model, "cpu")
    model, module = bundle.model, torch_module(bundle.model)
    rows = real_rows(bundle, args.file, 1024)
    full = torch.randn(bundle.config.vocabulary_size, bundle.config.hidden_size)
    candidates: dict[str, Callable[[Tensor, int], object]] = {
        "ours": model.topk,
        "reference": model.softmax.topk,
        "adaptive_log_prob_topk_fp32": lambda hidden, k: module.log_prob(hidden).topk(k),
        "full_softmax_topk_fp32": lambda hidden, k: (hidden @ full.T).log_softmax(1).topk(k),
    }
    results = [
        measure(candidates, rows, batch, k, args.rounds) for batch in (1, 16, 64) for k in (1, 10, 100)
    ]
    print(
        json.dumps({"threads": torch.get_num_threads(), "kernels": model.kernels, "rows": results}, indent=1)
    )


if __name__ == "__main__":
    main()
