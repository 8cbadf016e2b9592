r"""Scored texts as rows: JSON lines, or tables for R, pandas and spreadsheets.

JSON lines: one object a text, as ``/v1/score`` answers it; numbers are null for a text without tokens.

TSV, a row a text: ``line logprob perplexity word_count unknown_words known_perplexity``; numbers are ``NA``
without tokens, `known_perplexity` also without a known one.
TSV, a row a word: ``line position word logprob surprisal known start end token``; `position` counts from 1,
`surprisal` is in bits, `known` is true or false, ``start end`` are places in the line in code points, `token`
is the model's own form. A row a word between white space has ``tokens unknown_words`` in place of `token`.
A text without tokens has no row, which the gap in `line` shows. No field is quoted or escaped: no word holds
white space; one that did would be an error (`csv.Error`), not a broken row.

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

from service.scoring.scored_text import Group, ScoredText

Rows = Callable[[int, Sequence[ScoredText]], str]
"""The rows of consecutive texts, line ends included; the first text has that line number."""

TEXT_COLUMNS: Final = ("line", "logprob", "perplexity", "word_count", "unknown_words", "known_perplexity")
WORD_COLUMNS: Final = ("line", "position", "word", "logprob", "surprisal", "known", "start", "end", "token")
SPACED_COLUMNS: Final = (*WORD_COLUMNS[:-1], "tokens", "unknown_words")


class Tsv(csv.Dialect):
    """Fields between tabs, as they are."""

    delimiter = "\t"
    lineterminator = "\n"
    quoting = csv.QUOTE_NONE
    quotechar = None


class Csv(csv.excel):
    """RFC 4180, but lines end in a line feed, as in all our output."""

    lineterminator = "\n"


def json_rows(per_word: bool, group: Group = "token") -> Rows:
    """JSON lines."""

    def rows(first: int, texts: Sequence[ScoredText]) -> str:
        results = (text.result(per_word, group) for text in texts)
        return "".join(to_json(result, inf_nan_mode="null").decode() + "\n" for result in results)

    return rows


def table_rows(dialect: type[csv.Dialect], per_word: bool, group: Group = "token") -> tuple[str, Rows]:
    """The header and the rows of a table: a row a word, or a row a text."""
    if not per_word:
        return _written(dialect, [TEXT_COLUMNS]), lambda first, texts: _written(dialect, _texts(first, texts))
    columns = WORD_COLUMNS if group == "token" else SPACED_COLUMNS
    return (
        _written(dialect, [columns]),
        lambda first, texts: _written(dialect, _words(columns, group, first, texts)),
    )


def _written(dialect: type[csv.Dialect], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, dialect).writerows(rows)
    return out.getvalue()


def _texts(first: int, texts: Sequence[ScoredText]) -> Iterator[Sequence[object]]:
    for line, text in enumerate(texts, first):
        found = text.result(per_word=False)
        yield line, *(_value(found[column]) for column in TEXT_COLUMNS[1:])


def _words(
    columns: Sequence[str], group: Group, first: int, texts: Sequence[ScoredText]
) -> Iterator[Sequence[object]]:
    for line, text in enumerate(texts, first):
        for position, found in enumerate(text.entries(group), 1):
            surprisal = round(-found["logprob"] / math.log(2), 6)
            row = {"token": found["word"]} | found | {"line": line, "position": position}
            row["surprisal"] = surprisal
            yield [_value(row[column]) for column in columns]


def _value(value: object) -> object:
    """``true``, ``false``; numbers up to six decimals, never with an exponent or trailing zeros, and ``inf``,
    ``-inf``, ``NA`` for no number; words as they are."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return "NA"
    return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
