"""A data set, as a bulk job sees it: rows with a text each, read in spans and written with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from service.scoring.scored_text import Group, ScoredText


class BulkError(ValueError):
    """The fault of a data set or a job, in one line."""


class RowFault(StrEnum):
    """Why a row has no score. The row stays, with nulls for scores, and is counted."""

    NULL = "null"
    NOT_TEXT = "not a string"
    ABSENT = "without the column"
    NOT_AN_OBJECT = "not a JSON object"
    NOT_UNICODE = "not valid Unicode"
    EMPTY = "without words"


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rows that are scored and kept together.

    Attributes:
        number: counts the spans of a job, from 0.
        first: the first row, from 0.
        rows: how many; 0 only in a data set without rows.
        offset: where the format finds the first row; in bytes for JSON lines.
    """

    number: int
    first: int
    rows: int
    offset: int = 0


class Part(Protocol):
    """The rows of a span."""

    @property
    def texts(self) -> Sequence[str | RowFault]:
        """For each row its text, or why it has no text."""

    def write(self, path: Path, results: Sequence[ScoredText | None], columns: Columns) -> None:
        """Writes the rows with their scores; None stands for a row without. Raises BulkError if the rows have
        a column of an added name."""


class Source(Protocol):
    """An open data set."""

    def spans(self, rows: int) -> list[Span]:
        """The whole data set, `rows` in each span but the last. Raises BulkError."""

    def read(self, span: Span) -> Part:
        """The rows of a span; spans in their order are read without going back. Raises BulkError."""


class Format(Protocol):
    """A file format for rows."""

    suffix: str

    def open(self, path: Path, text_column: str) -> AbstractContextManager[Source]:
        """Opens a file. Raises BulkError: it cannot be read, or has no such column."""

    def join(self, parts: Sequence[tuple[Path, int]], path: Path) -> None:
        """Writes the rows of all parts into one file; of each part a path and its number of rows.

        Raises:
            BulkError: a part has another number of rows.
        """


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are added to a data set, and their values.

    Args:
        prefix: stands before each of their names.
        per_word: whether the words of a row are listed.
        fast: whether there is `logprob_error`.
        group: what the words are; see `ScoredText.entries`.
        lines: whether the lines of a row are listed.
    """

    prefix: str = ""
    per_word: bool = False
    fast: bool = False
    group: Group = "token"
    lines: bool = False

    @property
    def names(self) -> list[str]:
        """In their order; without the prefix these are the fields of ``/v1/score``."""
        names = [*_ALWAYS]
        names += ["logprob_error"] * self.fast
        names += ["lines"] * self.lines
        names += ["words"] * self.per_word
        return [self.prefix + name for name in names]

    def values(self, result: ScoredText | None) -> dict[str, Any]:
        """Name -> value for one row. A perplexity is infinite beyond doubles, None where no word is known."""
        if result is None:
            return dict.fromkeys(self.names)
        found = result.result(self.per_word, self.group)
        if result.unknown_words == len(result.tokens):
            found["known_perplexity"] = None
        if self.fast:
            found.setdefault("logprob_error", 0.0)
        return {name: found[name.removeprefix(self.prefix)] for name in self.names}


_ALWAYS: Final = ("logprob", "perplexity", "known_perplexity", "word_count", "unknown_words")
