"""The LSTM body on the CPU: ``python -m benchmarks.lstm [--isa avx512 avx2 scalar] [--out DIR]``.

The default model's body, from word ids to hidden rows, in float32 and in 8 bits (as ``headfirst quantize``
makes it), on each instruction set asked for. Beside it torch's own LSTM from word vectors (so without the
look-up, in torch's favor): the same layer in float32 and in bfloat16, and in dynamic int8, which torch has
for layers without projection only: another network of the same 1,024 units. Words of the sample text that
ships. Medians of runs that take turns; writes ``lstm-ISA-DATE.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor, nn

from models.benchmarking.machine import machine
from models.benchmarking.text import SAMPLE
from models.bundle import DEFAULT, Bundle
from models.kernels.cpu.library import best_level
from models.kernels.cpu.lstm import CpuLSTM
from models.training.corpus import lines
from models.training.quantization import quantize

SHAPES = ((1, 1), (1, 12), (8, 12), (16, 1), (16, 12), (64, 1), (64, 12), (1024, 1))
"""Rows and words a row."""


Run = Callable[[Tensor], object]


def ours(bundle: Bundle, levels: list[str]) -> dict[str, Run]:
    """The kernels, on ids (B, T)."""
    runs: dict[str, Run] = {}
    for name, model in (("fp32", bundle.model), ("int8", quantize(bundle.model))):
        for level in levels:
            kernel = CpuLSTM(model.body, level, embedding=model.embedding)  # type: ignore[arg-type]
            runs[f"{level}_{name}"] = _on_ids(kernel, bundle)
    return runs


def _on_ids(kernel: CpuLSTM, bundle: Bundle) -> Run:
    state = cache(bundle.model.initial_state)
    return lambda ids: kernel.encode(ids, None, state(len(ids)))


def torchs(bundle: Bundle) -> dict[str, Run]:
    """torch's LSTMs, on ids (B, T), whose vectors are made beforehand."""
    model = bundle.model
    half = copy.deepcopy(model.body).bfloat16()
    layer = model.body.layers[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that its quantization moves to another package
        eight = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True)), {nn.LSTM}
        )
    vectors = cache(model.embedding)  # one tensor of ids a shape
    state = cache(model.initial_state)
    half_vectors = cache(lambda ids: vectors(ids).bfloat16())
    half_state = cache(lambda rows: tuple(part.bfloat16() for part in state(rows)))
    return {
        "torch_fp32": lambda ids: model.body(vectors(ids), None, state(len(ids))),
        "torch_bf16": lambda ids: half(half_vectors(ids), None, half_state(len(ids))),
        "torch_int8_without_projection": lambda ids: eight(vectors(ids)),
    }


def words_per_second(
    runs: dict[str, Run], ids: Tensor, seconds: float, clock: Callable[[], float]
) -> dict[str, int]:
    """The median rate of each by `clock`, after a first run that is not counted."""
    for run in runs.values():
        run(ids)
    times: dict[str, list[float]] = {name: [] for name in runs}
    begun = perf_counter()
    while perf_counter() - begun < seconds or min(map(len, times.values())) < 5:
        for name, run in runs.items():
            start = clock()
            run(ids)
            times[name].append(clock() - start)
    return {name: round(ids.numel() / median(values)) for name, values in times.items()}


@torch.inference_mode()
def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each shape and number of threads")
    parser.add_argument("--isa", nargs="+", default=[best_level()], help="avx512, avx2 or scalar")
    parser.add_argument("--only-ours", action="store_true", help="without torch's LSTMs")
    parser.add_argument(
        "--processor-time", action="store_true", help="of the process, for one thread on a shared machine"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    clock = process_time if args.processor_time else perf_counter
    bundle = Bundle.load(DEFAULT, "cpu")
    runs = ours(bundle, args.isa) | ({} if args.only_ours else torchs(bundle))
    text = [word for line in bundle.vocabulary.encode_batch(list(lines(SAMPLE))) for word in line]
    found = []
    for threads in dict.fromkeys(args.threads):
        torch.set_num_threads(threads)
        for rows, words in SHAPES:
            at = torch.arange(rows * words) * 7919 % len(text)
            ids = torch.tensor(text)[at].reshape(rows, words)
            rates = words_per_second(runs, ids, args.seconds, clock)
            found.append({"threads": threads, "rows": rows, "words": words, "words_per_second": rates})
            print(found[-1], flush=True)
    share = sum(word < bundle.config.cutoffs[0] for word in text) / len(text)
    result = {
        "machine": machine(),
        "isa": args.isa,
        "clock": "processor time" if args.processor_time else "wall clock",
        "short_list_share": round(share, 3),
        "rows": found,
    }
    if args.out:
        date = result["machine"]["date"][:10]
        (args.out / f"lstm-{'-'.join(args.isa)}-{date}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
