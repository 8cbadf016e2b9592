"""Words that begin with what is typed so far, as keyboards send it: all that stands since the last space.

Some of it may be finished, such as an opening quotation mark or the first part of a compound. The finished
tokens join the context; the rest is completed, from the earliest token from which on it begins a word of the
vocabulary. After a hyphen, a dash, an opening bracket or an opening quotation mark no word has begun yet.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import torch

from models.text.spacing import QUOTES
from models.text.words import Piece

_OPENING: Final = frozenset("( [ { - --".split())
"""Marks after which a word begins anew: nothing of it is typed yet."""
_LETTER: Final = "a"


class Prefix(NamedTuple):
    """What is typed of a word.

    `before` are the ids of the finished tokens that precede it, `kept` are the characters that were typed for
    these. `rest` is the beginning of a word in the vocabulary's form, empty where none has begun, and `typed`
    are its characters as they were typed.
    """

    before: list[int]
    kept: str
    rest: str
    typed: str

    def completion(self, word: str) -> str:
        """The text that replaces what was typed, which stays as it was wherever `word` goes on with it."""
        return self.kept + (self.typed + word[len(self.rest) :] if word.startswith(self.rest) else word)


def read(
    typed: str,
    tokens: Callable[[str], list[Piece]],
    folded: Callable[[str], str],
    begins_a_word: Callable[[str], bool],
) -> tuple[list[str], str, str]:
    """The finished words of `typed`, the characters that stand for them, and the beginning of a word.

    Args:
        tokens: the tokens of a text.
        folded: the beginning of a word as the vocabulary writes it.
        begins_a_word: whether a word of the vocabulary begins so.
    """
    typed = typed.rstrip()
    found = tokens(typed)
    if not found:
        return [], typed, ""
    # A letter that follows shows where a word may begin: after the full stop of "Yes.S", after a hyphen.
    continued = [one for one in tokens(typed + _LETTER) if one.start <= len(typed)]
    if continued[-1].start == len(typed) and _opens(continued[:-1]):
        return [one.word for one in continued[:-1]], typed, ""
    start = found[-1].start
    for at in sorted({one.start for one in (*found, *continued) if one.start < len(typed)}):
        if begins_a_word(folded(typed[at:])):
            start = at
            break
    finished = found if any(one.start == start for one in found) else continued
    return [one.word for one in finished if one.end <= start], typed[:start], folded(typed[start:])


def _opens(words: Sequence[Piece]) -> bool:
    """Whether the last of the words has the beginning of another directly after it."""
    *before, last = words
    if last.word in QUOTES:
        return not before or before[-1].end < last.start or _opens(before)
    return last.word in _OPENING


class PrefixIndex:
    """The predictable words in order, as written and without case.

    Args:
        words: all words of a vocabulary by id.
        ids: those that can be predicted.
    """

    def __init__(self, words: Sequence[str], ids: Iterable[int]) -> None:
        self._exact = _Sorted({i: words[i] for i in sorted(ids)})
        self._words = words
        self._folded: _Sorted | None = None

    def find(self, prefix: str, ignore_case: bool = False) -> torch.Tensor:
        """Sorted ids (int64) of the words that begin with `prefix`."""
        return self._view(ignore_case).find(prefix.casefold() if ignore_case else prefix).sort().values

    def has(self, prefix: str, ignore_case: bool = False) -> bool:
        """Whether any word begins so."""
        return self._view(ignore_case).has(prefix.casefold() if ignore_case else prefix)

    def variants(self, word: str) -> list[int]:
        """The ids of the words that differ from `word` in case alone, sorted."""
        key = word.casefold()
        view = self._view(True)
        low, high = bisect_left(view.words, key), bisect_right(view.words, key)
        return sorted(view.ids[low:high].tolist())

    def _view(self, ignore_case: bool) -> _Sorted:
        if not ignore_case:
            return self._exact
        if self._folded is None:
            # 0.1 s for 100,000 words: once, and only where it is asked for.
            ids = self._exact.ids.sort().values.tolist()
            self._folded = _Sorted({i: self._words[i].casefold() for i in ids})
        return self._folded


class _Sorted:
    def __init__(self, words: dict[int, str]) -> None:
        ids = sorted(words, key=words.__getitem__)
        self.words = [words[i] for i in ids]
        self.ids = torch.tensor(ids, dtype=torch.int64)

    def find(self, prefix: str) -> torch.Tensor:
        low = bisect_left(self.words, prefix)
        high = bisect_right(self.words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return self.ids[low:high]

    def has(self, prefix: str) -> bool:
        at = bisect_left(self.words, prefix)
        return at < len(self.words) and self.words[at].startswith(prefix)
