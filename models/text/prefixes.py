"""What a person is typing, as keyboards send it: all that stands since the last space.

Some of it may be finished, such as an opening quotation mark or the first part of a compound. The finished
tokens join the context; the rest, the remainder, is completed: from the earliest token whose remainder begins
a word of the vocabulary. After a hyphen, a dash, an opening bracket or an opening quotation mark nothing is
begun yet: the remainder is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from models.text.words import Word

_OPENING: Final = frozenset("( [ { - --".split())
_QUOTES: Final = frozenset("\" ' `".split())
_LETTER: Final = "a"


class Prefix(NamedTuple):
    """A prefix that is read.

    Attributes:
        finished: the words that join the context.
        remainder: the beginning of the word that is completed, as the vocabulary writes it; "" for any word.
        kept: the text of the finished words, as typed: a completion is this and then the word.
    """

    finished: tuple[str, ...]
    remainder: str
    kept: str

    def completion(self, word: str) -> str:
        """The whole text that replaces the prefix where `word` (as it is typed) completes it."""
        return self.kept + word


def read_prefix(
    text: str,
    tokens: Callable[[str], Sequence[Word]],
    key: Callable[[str], str],
    begins_a_word: Callable[[str], bool],
) -> Prefix:
    """Reads a prefix.

    Args:
        text: what stands since the last space.
        tokens: the tokens of a text.
        key: the beginning of a word as the vocabulary writes it.
        begins_a_word: whether a word of the vocabulary starts so.
    """
    text = text.rstrip()
    typed = tokens(text)
    # A letter that follows shows where a word may begin: after "left.S" in "left.She", after a hyphen.
    continued = [one for one in tokens(text + _LETTER) if one.start <= len(text)]
    if not typed:
        return Prefix((), "", text)
    if continued[-1].start == len(text) and _opens(continued[:-1]):
        return Prefix(tuple(one.word for one in continued[:-1]), "", text)
    for start in sorted({one.start for one in (*typed, *continued) if one.start < len(text)}):
        remainder = key(text[start:])
        if begins_a_word(remainder):
            break
    else:
        start = typed[-1].start
        remainder = key(text[start:])
    finished = typed if any(one.start == start for one in typed) else continued
    return Prefix(tuple(one.word for one in finished if one.end <= start), remainder, text[:start])


def _opens(words: Sequence[Word]) -> bool:
    """Whether the last of the words has the beginning of another directly after it."""
    *before, last = words
    if last.word in _QUOTES:
        return not before or before[-1].end < last.start or _opens(before)
    return last.word in _OPENING
