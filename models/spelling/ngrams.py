"""Interpolated character n-grams: one byte a probability, and proper however coarse that is.

The probability of a character c after the history h, h' being h without its oldest character, is

    p(c | h) = a(h c) + g(h) p(c | h'),    g(h) = 1 - sum over c of a(h c),

where a(h c), the share of h c, is what is stored, and 0 for the n-grams that are not. The sum over all c is 1
whatever the shares are: rounding them and leaving some out costs bits, never properness.
See Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.spelling.alphabet import END, START, Alphabet, Floats, Ids

Codes = npt.NDArray[np.uint8]

STEPS_A_BIT: Final = 11
"""Code k, from 1, is the share 2 ** -((k - 1) / 11): down to 1e-7, each within 3.2%. Code 0 is no share."""
LEAST_LEFT: Final = 2.0**-10
"""So much of every history's mass, at least, is left to the shorter one: every word can end."""

_SHARES: Final[Floats] = np.concatenate([[0.0], 2.0 ** (-np.arange(255) / STEPS_A_BIT)])


@dataclass(frozen=True, slots=True)
class Level:
    """The n-grams of one length n, as a level of a trie, ascending by `keys`.

    `keys` (M,): the index of the n-gram's history in the level before (0 for n = 1), times the alphabet's
    size, plus the id of its last character. `codes` (M,): its share in one byte.
    """

    keys: Ids
    codes: Codes


class NGrams:
    """A distribution over the non-empty strings of all of Unicode's code points but white space."""

    def __init__(self, alphabet: Alphabet, levels: Sequence[Level]) -> None:
        """Raises ValueError, in one line, for levels that are no trie or leave a history no mass."""
        self.alphabet, self.levels = alphabet, tuple(levels)
        size = len(alphabet)
        self._left: list[Floats] = []
        histories = 1
        for n, level in enumerate(self.levels, 1):
            keys = level.keys
            if (np.diff(keys) <= 0).any() or (len(keys) and not 0 <= keys[0] <= keys[-1] < histories * size):
                raise ValueError(f"the {n}-grams are not sorted, or one has no history")
            given = np.bincount(keys // size, _SHARES[level.codes], minlength=histories)
            left = np.subtract(1.0, given, dtype=np.float64)
            if (left < LEAST_LEFT * 0.99).any():
                raise ValueError(f"the {n}-grams leave no probability to shorter ones")
            self._left.append(left)
            histories = len(keys)
        first = self.levels[0]
        if len(first.keys) != size or first.codes[START] or not first.codes[END:].all():
            raise ValueError("every character but the start needs a share of its own")
        empty = self._probabilities(np.array([START, END]), np.zeros(2))[END]
        self._log_nonempty = float(np.log1p(-empty))

    @property
    def order(self) -> int:
        """The length of the longest n-grams, in characters."""
        return len(self.levels)

    def __len__(self) -> int:
        """How many n-grams are stored."""
        return sum(len(level.keys) for level in self.levels)

    def logprob(self, words: Sequence[str]) -> Floats:
        """(W,) natural logarithms; -inf for the empty word, and for white space and lone surrogates."""
        if not words:
            return np.zeros(0)
        ids, base, starts = self.alphabet.encode(words)
        with np.errstate(divide="ignore"):
            logs = np.log(self._probabilities(ids, base))
        logs[starts] = 0.0  # The start is given.
        total: Floats = np.add.reduceat(logs, starts) - self._log_nonempty
        total[[not word for word in words]] = -np.inf
        return total

    def _probabilities(self, ids: Ids, base: Floats) -> Floats:
        """(N,) of each id after those before it in its word; of a start, nothing that means anything.

        `base` (N,): the probability of each character among those outside the alphabet.
        """
        size = len(self.alphabet)
        nodes = ids  # each position's n-gram as an index of its level; negative where it is not stored
        shares = np.where(ids >= 0, _SHARES[self.levels[0].codes[ids]], 0.0)
        probabilities: Floats = shares + self._left[0][0] * base
        for level, left in zip(self.levels[1:], self._left[1:], strict=True):
            if not len(level.keys):
                break
            history = np.concatenate([[-1], nodes[:-1]])
            history[ids == START] = -1
            known = history >= 0
            wanted = np.where(known & (ids >= 0), history * size + ids, -1)
            at = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
            found = level.keys[at] == wanted
            kept = np.where(known, left[history], 1.0)
            probabilities = np.where(found, _SHARES[level.codes[at]], 0.0) + kept * probabilities
            nodes = np.where(found, at, -1)
        return probabilities


def encode_shares(shares: Floats, histories: Ids, least: int = 0) -> Codes:
    """The nearest codes of `shares` (M,) that leave each of `histories` (M,) its `LEAST_LEFT`.

    Shares too small for a code become `least` (0: none, 255: the smallest).
    """
    with np.errstate(divide="ignore"):
        exact = 1 - STEPS_A_BIT * np.log2(shares)
    codes = np.where(exact > 255, least, np.rint(np.clip(exact, 1, 255))).astype(np.int64)
    while True:
        full = np.bincount(histories, _SHARES[codes]) > 1 - LEAST_LEFT
        over = full[histories] & (codes > 0) & (codes < 255)
        if not over.any():
            return codes.astype(np.uint8)
        codes[over] += 1
