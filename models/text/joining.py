"""Words -> running text, word by word, with the spaces that a person types; it has the same words again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from models.text.spacing import ATTACH_BOTH, ATTACH_LEFT, ATTACH_RIGHT, DISPLAY, QUOTES
from models.text.words import pieces, split

_RECENT: Final = 32
"""Words that are joined again for each new one, where another tokenization joins them."""
LONGEST: Final = 200
"""In characters: what stands without a space may get one after so many, as a text of slashes does."""
TOKENS: Final = 16
"""Tokens of a longer chunk before a text that goes on which are read again with each word."""

_CLITICS: Final = frozenset(("'s", "'S"))
_ELISION: Final = re.compile(
    r"(?:tis|twas|twill|twere|em|im|er|til|till|cause|bout|round|n|nother|cept|[0-9]0s)\Z", re.IGNORECASE
)
_ELIDED: Final = re.compile(r"\w(?:s|in|o|th|an)\Z", re.IGNORECASE)
"""Words that an apostrophe after them may belong to: dogs', goin', wi', an'."""
_WHOLE: Final = frozenset(
    "as is was has does goes says this his hers its us yes plus versus always sometimes perhaps in begin"
    " within than can both with so to do go no who into".split()
)


class Joiner:
    """Goes on with a text in our tokenization's second version, word by word.

    The spacing that is usual in English is taken, unless the words would not be what they are: a dash that
    touches a number would be its sign. So the words of a text that was joined are those that it was joined
    from, whenever any text has them.
    """

    def __init__(self, text: str = "") -> None:
        """Begins after `text`, which may end within a sentence, in white space, or in an opening mark."""
        self._open: set[str] = set()
        """Quotation marks that were opened and not closed."""
        self._last = ""
        self._attach = False
        """Whether the next word usually stands directly after the last one."""
        end = 0
        for word, start, stop in pieces(text):
            self._note(word, spaced=end == 0 or any(map(str.isspace, text[end:start])))
            end = stop
        self._chunk = "" if text[-1:].isspace() else _end("".join(text.split()[-1:]))
        self._words = [word for word, _, _ in split(self._chunk)]
        """What the characters since the last white space are to be read as."""

    def piece(self, word: str) -> str:
        """What the text goes on with for `word`: itself, with a space before it where one belongs."""
        shown = DISPLAY.get(word, word)
        return shown if not self._chunk or self._attaches(word) else " " + shown

    def add(self, word: str) -> str:
        """`piece`, after which the text goes on."""
        shown = DISPLAY.get(word, word)
        attached = bool(self._chunk) and self._attaches(word)
        piece = shown if attached or not self._chunk else " " + shown
        self._note(word, spaced=not attached)
        if attached:
            self._chunk += shown
            self._words.append(word)
        else:
            self._chunk, self._words = shown, [word]
        return piece

    def _attaches(self, word: str) -> bool:
        """Whether a word stands directly after the chunk: as is usual, if both ways read as they should."""
        usual = self._usually_attaches(word) and len(self._chunk) < LONGEST
        # A hyphen is one if a letter touches it, which the next word may do.
        after = "a" if word == "-" else ""
        together = _reads(self._chunk + DISPLAY.get(word, word) + after, [*self._words, word, *after])
        apart = _reads(self._chunk, self._words)
        return usual if together == apart else together

    def _usually_attaches(self, word: str) -> bool:
        attach = self._attach and (self._last != "+" or word[0].isdigit())
        if word in QUOTES:
            return attach or word in self._open or (word == "'" and _is_elided(self._last))
        return attach or word in ATTACH_LEFT or word in ATTACH_BOTH or word in _CLITICS

    def _note(self, word: str, spaced: bool) -> None:
        """Takes in a word and whether white space, or nothing, stands before it."""
        opening = closing = False
        if word in QUOTES:
            opening = spaced or self._attach
            closing = word in self._open and (not opening or spaced)
            opening = opening and not closing
        elif self._last == "'" and self._attach and _ELISION.match(word):
            self._open.discard("'")
        if closing:
            self._open.discard(word)
        elif opening:
            self._open.add(word)
        self._attach = (
            opening
            or word in ATTACH_RIGHT
            or word in ATTACH_BOTH
            or (word == "..." and (not self._last or self._attach))  # "...and so on
            or (word == "+" and spaced and not self._last[-1:].isdigit())  # call +44
        )
        self._last = word


def _end(chunk: str) -> str:
    """The end of a long chunk, if it has the same words there by itself; the chunk for others."""
    if len(chunk) <= LONGEST:
        return chunk
    last = split(chunk)[-TOKENS:]
    if not last:
        return ""
    (word, start, stop), *others = last
    rest = [word for word, _, _ in others]
    if stop - start > LONGEST:
        # Of a token that is long itself, its own end reads alike.
        end = chunk[stop - LONGEST :]
        first, *found = [word for word, _, _ in split(end)]
        if found == rest and word.endswith(first):
            return end
    end = chunk[start:]
    return end if _reads(end, [word, *rest]) else chunk


def _is_elided(word: str) -> bool:
    """Whether an apostrophe that stands after the word belongs to it, and does not open a quotation."""
    return bool(_ELIDED.search(word)) and word.lower() not in _WHOLE


def _reads(chunk: str, expected: list[str]) -> bool:
    return [word for word, _, _ in split(chunk)] == expected


class Rendered:
    """Goes on with words that another tokenization joins as a whole; see `Joiner`.

    Args:
        join: words -> running text.
        words: those that the text has.
        glue: whether it ends in white space, so that the next word needs none before it.
    """

    def __init__(self, join: Callable[[Sequence[str]], str], words: Sequence[str], glue: bool) -> None:
        self._join = join
        # Of the words before, what matters is which quotations they leave open.
        older, recent = words[:-_RECENT], words[-_RECENT:]
        self._words = [*(mark for mark in sorted(QUOTES) if older.count(mark) % 2), *recent]
        self._text = join(self._words)
        self._glue = glue or not self._text

    def piece(self, word: str) -> str:
        """See `Joiner.piece`."""
        joined = self._join([*self._words, word])
        # A word that would change what is written already stands for itself.
        added = joined[len(self._text) :] if joined.startswith(self._text) else " " + self._join([word])
        return added.lstrip(" ") if self._glue else added

    def add(self, word: str) -> str:
        """See `Joiner.add`."""
        piece = self.piece(word)
        self._words.append(word)
        self._text = self._join(self._words)
        self._glue = False
        return piece


def join(words: Sequence[str]) -> str:
    """`words` as running text; see `Joiner`."""
    joiner = Joiner()
    return "".join([joiner.add(word) for word in words])
