"""How many clusters an exact top-k opens on real text: ``python -m benchmarks.expansion FILE``.

Runs the first lines of a text through a model, each from the start state, and searches the top k after
every word, for k = 1, 10, 100. Prints one JSON object: the share of rows that open a cluster, clusters
opened a row, words scored a row (the head's columns included) and their share of the vocabulary.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from models.bundle import DEFAULT, Bundle
from models.training.corpus import lines


@torch.inference_mode()
def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, default=8192, help="positions at least, if the text has them")
    args = parser.parse_args()
    bundle = Bundle.load(args.model, args.device)
    model, start = bundle.model, bundle.vocabulary.start_id
    sizes = torch.tensor(model.softmax.cluster_sizes, dtype=torch.float64, device=bundle.device)
    parts: list[torch.Tensor] = []
    for line in lines(args.file):
        parts.append(model.read([start, *bundle.vocabulary.encode_batch([line])[0]]))
        if sum(map(len, parts)) >= args.rows:
            break
    rows = torch.cat(parts)
    result: dict[str, object] = {"file": args.file.name, "rows": len(rows), "clusters": len(sizes)}
    for k in (1, 10, 100):
        opened = torch.cat([model.topk(part, k).expanded for part in torch.split(rows, 64)]).double()
        scored = len(model.softmax.head) + (opened @ sizes).mean().item()
        result[f"k={k}"] = {
            "rows_that_open": round(opened.any(1).double().mean().item(), 4),
            "clusters_opened": round(opened.sum(1).mean().item(), 3),
            "words_scored": round(scored),
            "share_of_vocabulary": round(scored / bundle.config.vocabulary_size, 4),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
