r"""Scored texts as rows: JSON lines, or tables for R, pandas and spreadsheets.

JSON lines: one object a text, as ``/v1/score`` answers it; `perplexity` is null for a text without words.

TSV, a row a text: ``line logprob perplexity word_count unknown_words``; perplexity is ``NA`` without words.
TSV, a row a word: ``line position word logprob surprisal known``; `position` counts from 1, `surprisal` is in
bits, `known` is true or false. A text without words has no row, which the gap in `line` shows. No field is
quoted or escaped: tokenization makes white space of tabs and line ends, so no word holds one; one that did
would be an error (`csv.Error`), not a broken row.

CSV: the same rows, with commas, and with quotes where RFC 4180 asks for them.

Words can be ``NA``, ``"`` or ``#``, so readers have to take them literally::

    R:      read.delim("scores.tsv", quote = "", na.strings = character())
    pandas: read_csv("scores.tsv", sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
            read_csv("scores.csv", keep_default_na=False)
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from pydantic_core import to_json

from service.offline.scorer import ScoredText

Rows = Callable[[int, Sequence[ScoredText]], str]
"""The rows of consecutive texts, line ends included; the first text has that line number."""

TEXT_COLUMNS: Final = ("line", "logprob", "perplexity", "word_count", "unknown_words")
WORD_COLUMNS: Final = ("line", "position", "word", "logprob", "surprisal", "known")


class Tsv(csv.Dialect):
    """Fields between tabs, as they are."""

    delimiter = "\t"
    lineterminator = "\n"
    quoting = csv.QUOTE_NONE
    quotechar = None


class Csv(csv.excel):
    """RFC 4180, but lines end in a line feed, as in all our output."""

    lineterminator = "\n"


def json_rows(per_word: bool) -> Rows:
    """JSON lines."""

    def rows(first: int, texts: Sequence[ScoredText]) -> str:
        return "".join(to_json(text.result(per_word), inf_nan_mode="null").decode() + "\n" for text in texts)

    return rows


def table_rows(dialect: type[csv.Dialect], per_word: bool) -> tuple[str, Rows]:
    """The header and the rows of a table: a row a word, or a row a text."""
    columns, fields = (WORD_COLUMNS, _words) if per_word else (TEXT_COLUMNS, _texts)
    return _written(dialect, [columns]), lambda first, texts: _written(dialect, fields(first, texts))


def _written(dialect: type[csv.Dialect], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, dialect).writerows(rows)
    return out.getvalue()


def _texts(first: int, texts: Sequence[ScoredText]) -> Iterator[Sequence[object]]:
    for line, text in enumerate(texts, first):
        perplexity = _number(text.perplexity) if text.tokens else "NA"
        yield line, _number(text.logprob), perplexity, len(text.tokens), text.unknown_words


def _words(first: int, texts: Sequence[ScoredText]) -> Iterator[Sequence[object]]:
    for line, text in enumerate(texts, first):
        for position, (token, logprob) in enumerate(zip(text.tokens, text.logprobs, strict=True), 1):
            known = "false" if token.id == text.unknown_id else "true"
            surprisal = _number(round(-logprob / math.log(2), 6))
            yield line, position, token.surface, _number(logprob), surprisal, known


def _number(value: float) -> str:
    """Up to six decimals, never an exponent, no trailing zeros; else ``inf``, ``-inf``, ``nan``."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
