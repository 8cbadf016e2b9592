r"""Scored texts as rows: JSON lines, or tables for R, pandas and spreadsheets.

JSON lines: one object a text, as ``/v1/score`` answers it; `perplexity` is null for a text without words.

TSV, a row a text: ``line logprob perplexity word_count unknown_words``; perplexity is ``NA`` without words.
TSV, a row a word: ``line position word logprob surprisal known``; `position` counts from 1, `surprisal` is in
bits, `known` is true or false. A text without words has no row; `line` tells which. No field is quoted or
escaped: tokenization makes white space of tabs and line ends, so no word holds one.

CSV: the same rows, with commas, and with quotes where RFC 4180 asks for them.

Words can be ``NA``, ``"`` or ``#``, so a reader must take them as they are::

    R:      read.delim("scores.tsv", quote = "", na.strings = character())
    pandas: read_csv("scores.tsv", sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
            read_csv("scores.csv", keep_default_na=False)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pydantic_core import to_json

from service.offline.scorer import ScoredText

Rows = Callable[[int, Sequence[ScoredText]], Iterator[str]]
"""Line ends included: the rows of consecutive texts, the first of which has that line number."""

TEXT_HEADER: Final = "line\tlogprob\tperplexity\tword_count\tunknown_words\n"
WORD_HEADER: Final = "line\tposition\tword\tlogprob\tsurprisal\tknown\n"


def json_rows(per_word: bool) -> Rows:
    """JSON lines."""

    def rows(first: int, texts: Sequence[ScoredText]) -> Iterator[str]:
        for text in texts:
            yield to_json(text.result(per_word), inf_nan_mode="null").decode() + "\n"

    return rows


def tsv_texts(first: int, texts: Sequence[ScoredText]) -> Iterator[str]:
    """A row a text; see `TEXT_HEADER`."""
    for line, text in enumerate(texts, first):
        perplexity = _number(text.perplexity) if text.tokens else "NA"
        yield f"{line}\t{_number(text.logprob)}\t{perplexity}\t{len(text.tokens)}\t{text.unknown_words}\n"


def tsv_words(first: int, texts: Sequence[ScoredText]) -> Iterator[str]:
    """A row a word; see `WORD_HEADER`."""
    for line, text in enumerate(texts, first):
        for position, (token, logprob) in enumerate(zip(text.tokens, text.logprobs, strict=True), 1):
            known = "false" if token.id == text.unknown_id else "true"
            surprisal = _number(round(-logprob / math.log(2), 6))
            yield f"{line}\t{position}\t{token.surface}\t{_number(logprob)}\t{surprisal}\t{known}\n"


def as_csv(header: str, rows: Rows) -> tuple[str, Rows]:
    """The header and the rows of a table as CSV."""

    def quoted(first: int, texts: Sequence[ScoredText]) -> Iterator[str]:
        for row in rows(first, texts):
            yield ",".join(map(_quoted, row[:-1].split("\t"))) + "\n"

    return header.replace("\t", ","), quoted


def _quoted(field: str) -> str:
    doubled = field.replace('"', '""')
    return f'"{doubled}"' if '"' in field or "," in field else field


def _number(value: float) -> str:
    """Up to six decimals, never an exponent, no trailing zeros; else ``inf``, ``-inf``, ``nan``."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
