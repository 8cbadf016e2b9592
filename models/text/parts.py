"""Parts of a text and the tokens in them: lines, words between white space, regions of the caller's own."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

_LINE: Final = re.compile(r"[^\r\n]+")
_PIECE: Final = re.compile(r"\S+")


class Placed(Protocol):
    """A token with its place, ``[start, end)`` in code points."""

    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102
    @property
    def surface(self) -> str: ...  # noqa: D102


def lines(text: str) -> list[tuple[int, int]]:
    r"""Places of the lines of a text, which end with \n, \r\n or \r; blank lines are left out."""
    return [found.span() for found in _LINE.finditer(text) if not found[0].isspace()]


def between_spaces(text: str, tokens: Sequence[Placed]) -> list[range]:
    """Indices of the tokens of each word between white space; pieces without a token are left out."""
    groups: list[range] = []
    at = 0
    for piece in _PIECE.finditer(text):
        begin = at
        while at < len(tokens) and tokens[at].start < piece.end():
            at += 1
        if at > begin:
            groups.append(range(begin, at))
    return groups


def in_regions(tokens: Sequence[Placed], regions: Iterable[tuple[int, int]], length: int) -> list[range]:
    """Indices of the tokens in each region ``[start, end)`` of a text of `length` code points.

    Regions may overlap, and leave tokens out.

    Raises:
        ValueError: a region that is not one of the text, or that cuts a token, which the message names.
    """
    starts = [token.start for token in tokens]
    ends = [token.end for token in tokens]
    found: list[range] = []
    for begin, end in regions:
        if not 0 <= begin <= end <= length:
            raise ValueError(f"region [{begin}, {end}] is not within the text, [0, {length}]")
        first, last = bisect_left(starts, begin), bisect_left(starts, end)
        for i in (first - 1, last - 1):
            edge = begin if i < first else end
            if i >= 0 and starts[i] < edge < ends[i]:
                raise ValueError(
                    f"region [{begin}, {end}] cuts the token {tokens[i].surface!r}, [{starts[i]}, {ends[i]}]"
                )
        found.append(range(first, last))
    return found
