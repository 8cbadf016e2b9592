"""The LSTM body on the CPU: ``python -m benchmarks.lstm [--out DIR]``.

The default model's body, from word ids to hidden rows, beside torch's own LSTM from word vectors (so
without the look-up, in torch's favor): the same layer in float32 and in bfloat16, and in dynamic int8,
which torch has for layers without projection only: another network of the same 1,024 units. Words of
the sample text that ships. Medians of runs that take turns; writes ``lstm-DATE.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from models.benchmarking.machine import machine
from models.benchmarking.text import SAMPLE
from models.bundle import DEFAULT, Bundle
from models.training.corpus import lines

SHAPES = ((1, 1), (1, 12), (8, 12), (64, 12), (64, 1), (1024, 1))
"""Rows and words a row."""


def candidates(bundle: Bundle, ids: Tensor) -> dict[str, Callable[[], object]]:
    """What is measured on `ids` (B, T)."""
    model, (rows, words) = bundle.model, ids.shape
    lengths, state = torch.full((rows,), words), model.initial_state(rows)
    vectors = model.embedding(ids)
    half = copy.deepcopy(model.body).bfloat16()
    half_vectors, half_state = vectors.bfloat16(), tuple(part.bfloat16() for part in state)
    layer = model.body.layers[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that its quantization moves to another package
        eight = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True)), {nn.LSTM}
        )
    return {
        "ours": lambda: model.encode(ids, lengths, state),
        "torch_fp32": lambda: model.body(vectors, None, state),
        "torch_bf16": lambda: half(half_vectors, None, half_state),
        "torch_int8_without_projection": lambda: eight(vectors),
    }


def words_per_second(runs: dict[str, Callable[[], object]], words: int, seconds: float) -> dict[str, int]:
    """The median rate of each, after a first run that is not counted."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    begun = perf_counter()
    while perf_counter() - begun < seconds or len(times["ours"]) < 5:
        for name, run in runs.items():
            start = perf_counter()
            run()
            times[name].append(perf_counter() - start)
    return {name: round(words / median(values)) for name, values in times.items()}


@torch.inference_mode()
def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each shape and number of threads")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    bundle = Bundle.load(DEFAULT, "cpu")
    text = [word for line in bundle.vocabulary.encode_batch(list(lines(SAMPLE))) for word in line]
    found = []
    for threads in dict.fromkeys(args.threads):
        torch.set_num_threads(threads)
        for rows, words in SHAPES:
            at = torch.arange(rows * words) * 7919 % len(text)
            ids = torch.tensor(text)[at].reshape(rows, words)
            rates = words_per_second(candidates(bundle, ids), rows * words, args.seconds)
            found.append({"threads": threads, "rows": rows, "words": words, "words_per_second": rates})
            print(found[-1], flush=True)
    share = sum(word < bundle.config.cutoffs[0] for word in text) / len(text)
    result = {
        "machine": machine(),
        "kernel": bundle.model.kernels["body"],
        "short_list_share": round(share, 3),
        "rows": found,
    }
    if args.out:
        date = result["machine"]["date"][:10]
        (args.out / f"lstm-{date}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
