"""Sorted views of a vocabulary's words: which start so, and which differ in their case alone."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class WordIndex:
    """Look-up by the beginning of a word.

    Args:
        words: all words of the vocabulary, by id.
        hidden: ids that are never found.
    """

    def __init__(self, words: Sequence[str], hidden: frozenset[int]) -> None:
        self._words = words
        self._ids = [i for i in range(len(words)) if i not in hidden]
        self._exact = _View([(words[i], i) for i in self._ids])

    @cached_property
    def _folded(self) -> _View:
        return _View([(self._words[i].casefold(), i) for i in self._ids])

    def starting_with(self, prefix: str, ignore_case: bool = False) -> Tensor:
        """Sorted ids (int64) of the words that start with `prefix`, in whatever case with `ignore_case`."""
        return (
            self._folded.starting_with(prefix.casefold())
            if ignore_case
            else self._exact.starting_with(prefix)
        )

    def any_starts_with(self, prefix: str, ignore_case: bool = False) -> bool:
        """Whether `starting_with` finds a word."""
        return (self._folded.has(prefix.casefold())) if ignore_case else self._exact.has(prefix)

    def case_variants(self, word: str) -> tuple[int, ...]:
        """Sorted ids of the words that differ from `word` in case at most."""
        return self._folded.equal(word.casefold())


class _View:
    def __init__(self, pairs: list[tuple[str, int]]) -> None:
        pairs.sort()
        self._words = [word for word, _ in pairs]
        self._ids = torch.tensor([i for _, i in pairs], dtype=torch.int64)

    def has(self, prefix: str) -> bool:
        at = bisect_left(self._words, prefix)
        return at < len(self._words) and self._words[at].startswith(prefix)

    def starting_with(self, prefix: str) -> Tensor:
        low = bisect_left(self._words, prefix)
        high = bisect_right(self._words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return self._ids[low:high].sort().values

    def equal(self, word: str) -> tuple[int, ...]:
        low, high = bisect_left(self._words, word), bisect_right(self._words, word)
        return tuple(sorted(self._ids[low:high].tolist()))
