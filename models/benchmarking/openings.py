"""How often a trained model with a few large tails opens each: ``python -m models.benchmarking.openings``.

Random weights make every cluster improbable, which flatters a search that opens clusters only when it must,
and no published checkpoint is at hand. So the partition of a published shape is laid over the full
distribution of the model that ships: both sort their words by frequency, and the first 20,000 words are about
the same share of any English text. A cluster opens if and only if its probability is at least that of the
k-th best word: the words of the answer lie in clusters that are more probable than themselves, and clusters
are opened best first. The words that the shipped vocabulary lacks, and a larger one would have, have the
probability of ``<unk>``: between two of the larger vocabulary's clusters it is divided as Zipf's law does, by
the logarithms of the ratios of their edges.

Prints `openings.json`, for `models.benchmarking.shapes`. ``openings``: of each shape and k what rows did with
their clusters (a letter each: ``.`` closed, ``o`` opened in vain, ``x`` opened, and a word of it is among the
k best), and the share of the rows. ``targets``: how probable each cluster is on the average, which is how
often the next word lies there. Reads a text, every line from the start state.

The file that is here is from 3,000 positions of the validation text of WikiText-2, which is that of
WikiText-103 but for its rare words; its tokenization was undone. It is hard for the small model that ships:
88% of the rows open a cluster of the ``wt103`` shape at k = 10 (27% at k = 1), where on held-out lines of its
own training text 36% do (6%). A better model of the text would open fewer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from models.benchmarking.shapes import SHAPES
from models.benchmarking.text import hidden_rows
from models.bundle import DEFAULT, Bundle
from models.softmax.adaptive_softmax import AdaptiveSoftmax

KS = (1, 10, 100)
ROWS_AT_ONCE = 64


@torch.inference_mode()
def openings(
    softmax: AdaptiveSoftmax, hidden: Tensor, unknown_id: int, cutoffs: tuple[int, ...], k: int
) -> Counter[str]:
    """How many of the rows (N, d) do what with the clusters of a vocabulary that is cut at `cutoffs`.

    Args:
        softmax: of a model whose ids are in the order of frequency.
        unknown_id: the word that stands for those beyond its vocabulary.
    """
    shares = beyond(softmax.cutoffs[-1], cutoffs)
    found: Counter[str] = Counter()
    for part in torch.split(hidden, ROWS_AT_ONCE):
        probabilities = softmax.log_prob(part).double().exp()
        unknown = probabilities[:, unknown_id].clone()
        probabilities[:, softmax.excluded] = 0
        threshold = probabilities.topk(k).values[:, -1]
        letters = []
        for (low, high), share in zip(pairwise(cutoffs), shares, strict=True):
            words = probabilities[:, low:high]
            opened = words.sum(1) + share * unknown >= threshold
            best = (words >= threshold[:, None]).any(1)
            letters.append((opened.int() + best.int()).tolist())
        found.update("".join(".ox"[one] for one in row) for row in zip(*letters, strict=True))
    return found


@torch.inference_mode()
def mean_probabilities(softmax: AdaptiveSoftmax, hidden: Tensor) -> Tensor:
    """(V,) float64: of each word over the rows (N, d)."""
    parts = torch.split(hidden, ROWS_AT_ONCE)
    total = torch.stack([softmax.log_prob(part).double().exp().sum(0) for part in parts]).sum(0)
    return total / len(hidden)


def shares(unigram: Tensor, unknown_id: int, cutoffs: tuple[int, ...]) -> list[float]:
    """Of each cluster, its probability; `unigram` (V,) with that of all words beyond V at `unknown_id`."""
    unknown = float(unigram[unknown_id])
    known = unigram.clone()
    known[unknown_id] = 0
    return [
        round(float(known[low:high].sum()) + share * unknown, 4)
        for (low, high), share in zip(pairwise(cutoffs), beyond(len(unigram), cutoffs), strict=True)
    ]


def beyond(words: int, cutoffs: tuple[int, ...]) -> list[float]:
    """Of each cluster, its share of the probability of all words from rank `words` on."""
    lengths = [
        math.log(max(high, words) / max(low, words)) if high > words else 0.0
        for low, high in pairwise(cutoffs)
    ]
    whole = sum(lengths)
    return [length / whole if whole else 0.0 for length in lengths]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--rows", type=int, default=4096)
    args = parser.parse_args()
    bundle = Bundle.load(DEFAULT, "cpu")
    hidden, _ = hidden_rows(bundle, args.text, args.rows)
    unigram = mean_probabilities(bundle.model.softmax, hidden)
    result: dict[str, dict[str, dict[str, float]]] = {}
    targets: dict[str, list[float]] = {}
    for name, shape in SHAPES.items():
        result[name] = {}
        targets[name] = shares(unigram, bundle.vocabulary.unknown_id, shape.cutoffs)
        for k in KS:
            found = openings(bundle.model.softmax, hidden, bundle.vocabulary.unknown_id, shape.cutoffs, k)
            result[name][str(k)] = {
                letters: round(count / len(hidden), 4) for letters, count in sorted(found.items())
            }
    print(json.dumps({"openings": result, "targets": targets}, indent=1))


if __name__ == "__main__":
    main()
