"""Counts of words -> interpolated modified Kneser-Ney n-grams (Chen and Goodman 1999), pruned to a number.

Lower orders count how many n-grams one longer end in a string, not how often it came; the discounts of
strings that came once, twice, and three times or more follow from the counts of counts. Pruning
keeps the n-grams without which the training words would lose the most bits (Seymore and Rosenfeld 1996).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.spelling.alphabet import START, Alphabet, Floats, Ids
from models.spelling.ngrams import Level, NGrams, encode_shares

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Counted:
    """All n-grams of one length.

    `suffixes` are the indices, in the level before, of each without its first character. `raw` is how often
    each came, `counts` what Kneser-Ney counts instead.
    """

    histories: Ids
    characters: Ids
    suffixes: Ids
    raw: Floats
    counts: Floats


class KneserNey:
    """The n-grams of some words before pruning."""

    def __init__(self, words: Mapping[str, int], order: int) -> None:
        """Counts all n-grams of up to `order` characters of `words`, each with its number of occurrences.

        Raises:
            ValueError: there is no word, or one has white space or a surrogate.
        """
        if not words:
            raise ValueError("there is no word to learn spelling from")
        self._alphabet = Alphabet({character for word in words for character in word})
        self._levels = _count(self._alphabet, words, order)
        self._shares: list[Floats] = []
        self._values: list[Floats] = []
        lower = np.zeros(1)
        for level in self._levels:
            shares = _discounted(level)
            left = (1 - np.bincount(level.histories, shares))[level.histories]
            below = lower[level.suffixes]
            probability = shares + left * below
            with np.errstate(divide="ignore", invalid="ignore"):
                gain = level.raw * np.log(probability / ((left + shares) * below))
            self._shares.append(shares)
            self._values.append(gain)
            lower = probability
        self._values[0][:] = np.inf  # the alphabet stays
        for n in range(order - 1, 1, -1):  # and so does the history of what stays
            np.maximum.at(self._values[n - 1], self._levels[n].histories, self._values[n])

    def __len__(self) -> int:
        """How many n-grams there are; see `pruned`."""
        return sum(map(len, self._values))

    def pruned(self, size: int) -> NGrams:
        """The `size` most valuable of the n-grams, the alphabet's characters always among them."""
        values = np.concatenate(self._values)
        keep = np.zeros(len(values), bool)
        keep[np.argsort(-values, kind="stable")[: max(size, len(self._alphabet))]] = True
        flags: list[Flags] = np.split(keep, np.cumsum([len(part) for part in self._values])[:-1])
        made: list[Level] = []
        index = np.zeros(1, np.int64)  # the new place of what was kept of the level before
        for level, shares, kept in zip(self._levels, self._shares, flags, strict=True):
            histories = index[level.histories[kept]]
            codes = encode_shares(shares[kept], histories, least=0 if made else 255)
            if not made:
                codes[START] = 0
            made.append(Level(histories * len(self._alphabet) + level.characters[kept], codes))
            index = np.cumsum(kept) - 1
        return NGrams(self._alphabet, made)


def _count(alphabet: Alphabet, words: Mapping[str, int], order: int) -> list[_Counted]:
    ids, _, starts = alphabet.encode(list(words))
    lengths = np.diff(np.append(starts, len(ids)))
    weights = np.repeat(np.fromiter(words.values(), np.float64, len(words)), lengths)
    size = len(alphabet)
    levels: list[_Counted] = []
    histories, characters, suffixes = np.zeros(size, np.int64), np.arange(size), np.zeros(size, np.int64)
    nodes = ids
    raw = _occurrences(ids, weights, size)
    for _ in range(order - 1):
        # One character longer, at each position that is not a word's start and has a history.
        history = np.concatenate([[-1], nodes[:-1]])
        history[ids == START] = -1
        here = np.flatnonzero(history >= 0)
        keys, at = np.unique(history[here] * size + ids[here], return_inverse=True)
        longer = np.zeros(len(keys), np.int64)
        longer[at] = nodes[here]
        continued = np.bincount(longer, minlength=len(raw)).astype(np.float64)
        # Strings that begin with the start have nothing before them: they keep their own counts.
        counts = np.where(continued > 0, continued, raw)
        levels.append(_Counted(histories, characters, suffixes, raw, counts))
        histories, characters, suffixes = keys // size, keys % size, longer
        raw = _occurrences(at, weights[here], len(keys))
        nodes = np.full(len(ids), -1)
        nodes[here] = at
    levels.append(_Counted(histories, characters, suffixes, raw, raw.copy()))
    levels[0].counts[START] = 0.0
    return levels


def _occurrences(at: Ids, weights: Floats, size: int) -> Floats:
    return np.bincount(at, weights, minlength=size).astype(np.float64)


def _discounted(level: _Counted) -> Floats:
    """Each n-gram's share of its history's counts, less the discount (equation 17 of the paper)."""
    n1, n2, n3, n4 = (float((level.counts == times).sum()) for times in (1, 2, 3, 4))
    discounts = np.array([0.0, 0.5, 0.75, 0.75])  # for words too few for an estimate
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        discounts[1:] = np.clip(found, 0.1, [0.95, 1.9, 2.8])
    kept = level.counts - discounts[np.minimum(level.counts, 3).astype(np.int64)]
    totals = np.bincount(level.histories, level.counts)
    shares: Floats = kept / np.maximum(totals, 1)[level.histories]
    return shares
