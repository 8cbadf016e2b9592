"""The characters that a spelling model knows, and what is left for all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

START: Final = 0
"""The id of the mark before a word; it is only ever a context."""
END: Final = 1
"""The id of the mark after a word."""
MARKS: Final = 2
UNSEEN: Final = -1
"""The id of every character outside the alphabet."""

WHITE_SPACE: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.split` splits at; no word has any of it."""

_BLOCK: Final = 256
_BLOCKS: Final = 0x110000 // _BLOCK
_IMPOSSIBLE: Final = np.array([*map(ord, sorted(WHITE_SPACE)), *range(0xD800, 0xE000)])
_NEAR: Final = 0.5
"""The share of the unseen characters' probability that goes by blocks; the rest is uniform."""


class Alphabet:
    """Characters by id, from `MARKS` on, in the order of their code points.

    A character outside the alphabet has the probability `base` of being the one that came, given that it
    was one from outside: half of the mass is spread evenly over all such code points, half is spread over
    the blocks of 256 code points as the alphabet's own characters are. The code points are those of Unicode
    (no surrogates) but white space.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        """Raises ValueError for white space, surrogates and characters that come twice."""
        self.characters = sorted(characters)
        self.code_points = np.array([ord(character) for character in self.characters], np.int64)
        if len(np.unique(self.code_points)) != len(self.code_points):
            raise ValueError("a character comes twice")
        if np.isin(self.code_points, _IMPOSSIBLE).any():
            raise ValueError("white space or a surrogate is no character of a word")
        known = np.bincount(self.code_points // _BLOCK, minlength=_BLOCKS)
        left = _BLOCK - np.bincount(_IMPOSSIBLE // _BLOCK, minlength=_BLOCKS) - known
        known *= left > 0
        near = known / known.sum() if known.any() else left / left.sum()
        blocks = _NEAR * near + (1 - _NEAR) * left / left.sum()
        self._base = np.divide(blocks, left, out=np.zeros(len(left)), where=left > 0)

    def __len__(self) -> int:
        """How many ids there are, the two marks among them."""
        return MARKS + len(self.characters)

    def encode(self, words: Sequence[str]) -> tuple[Ids, Floats, Ids]:
        """Each of `words` between the two marks, one after the other.

        Returns:
            (N,) ids, `UNSEEN` for characters outside the alphabet; (N,) the base probability, 0 for those
            inside, white space and surrogates; (W,) where each word's first mark stands.
        """
        text = "\t" + "\n\t".join(words) + "\n"
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
        lengths = np.array([len(word) for word in words], np.int64)
        starts = np.cumsum(lengths + MARKS) - lengths - MARKS
        at = np.searchsorted(self.code_points, points)
        at[at == len(self.code_points)] = 0
        ids = np.full(len(points), UNSEEN, np.int64)
        if len(self.code_points):
            ids = np.where(self.code_points[at] == points, at + MARKS, UNSEEN)
        ids[starts] = START
        ids[starts + lengths + 1] = END
        base = np.zeros(len(points))
        unseen = np.flatnonzero(ids == UNSEEN)
        if len(unseen):
            base[unseen] = self.base(points[unseen])
        return ids, base, starts

    def base(self, code_points: Ids) -> Floats:
        """(N,) the base probability of code points outside the alphabet; 0 for white space and surrogates."""
        possible = np.isin(code_points, _IMPOSSIBLE, invert=True)
        return np.where(possible, self._base[code_points // _BLOCK], 0.0)
