"""`headfirst score FILE`: a row of results for each line of a text, or for each of its words."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import typer

from service.commands.shared.options import Place
from service.commands.shared.progress import ReadingBar
from service.commands.shared.scoring import RowFormat, ScoringOptions
from service.commands.shared.session import UserError, load_bundle, standard_output

if TYPE_CHECKING:
    from models.bundle import Bundle
    from service.offline.lines import Lines
    from service.offline.rows import Rows
    from service.offline.scorer import Scorer

ROWS_A_PIECE: Final = 256
"""Texts whose rows are made at once: a row is several times as long as its text."""


def score_lines(file: str, place: Place, options: ScoringOptions) -> None:
    """Scores the lines of `file`, or of standard input; reports the totals in one line.

    Raises:
        UserError: a file, an option, the model or a line does not fit. The lines before it are written.
    """
    from service.offline.lines import Lines, LinesError

    try:
        with Lines.open(file, options.max_line_bytes) as lines:
            _check_output(options.output, file)
            scorer = _scorer(load_bundle(place.model, place.device, place.threads), options)
            header, rows = _rows(options)
            summary = Summary()
            with _open(options.output) as out, _frozen():
                _write(lines, scorer, header, rows, out, summary)
    except LinesError as error:
        raise UserError(str(error)) from None
    typer.echo(str(summary), err=True)


def _check_output(output: Path | None, file: str) -> None:
    if output is not None and output.is_file() and Path(file).exists() and output.samefile(file):
        raise UserError(f"{output} is the input, too")


def _scorer(bundle: Bundle, options: ScoringOptions) -> Scorer:
    from service.contract.errors import InvalidRequest
    from service.offline.scorer import Scorer

    try:
        return Scorer(
            bundle,
            options.context,
            options.end_of_sentence,
            options.batch_tokens,
            options.fast,
            options.pretokenized,
            options.unknown_name,
            options.unknown_penalty,
            options.lines,
            options.ignore_case,
        )
    except InvalidRequest as error:
        raise UserError(error.message) from None
    except ValueError as error:
        raise UserError(f"--context is {error}") from None


def _rows(options: ScoringOptions) -> tuple[str, Rows]:
    """The header, and the function that makes the rows."""
    from service.offline.rows import Csv, Tsv, json_rows, table_rows

    per_word, group = options.per_word is not False, options.group_name
    if options.output_format is RowFormat.JSONL:
        return "", json_rows(per_word, group)
    return table_rows(Csv if options.output_format is RowFormat.CSV else Tsv, per_word, group)


@contextmanager
def _frozen() -> Iterator[None]:
    """Keeps loaded objects out of garbage collections, which would halve the tokenizer's speed."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _open(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield standard_output()
        return
    with output.open("wb") as file:
        yield file


def _write(lines: Lines, scorer: Scorer, header: str, rows: Rows, out: IO[bytes], summary: Summary) -> None:
    out.write(header.encode())
    out.flush()
    with ReadingBar(lines, shared=out.isatty()) as bar:
        for window in lines.windows():
            bar.begin()
            results = scorer.score(window.texts, bar.advance)
            summary.totals.count(results)
            with bar.end(f"{summary.totals.rows:,} sentences, {summary.speed():,.0f} words/s"):
                for start in range(0, len(results), ROWS_A_PIECE):
                    piece = rows(window.first + start, results[start : start + ROWS_A_PIECE])
                    out.write(piece.encode())
                out.flush()
            del results  # Else two windows' would be held while the next is scored.


class Summary:
    """Totals of a run and its speed."""

    def __init__(self) -> None:
        from service.offline.totals import Totals

        self.totals = Totals()
        self._started = time.monotonic()

    def speed(self) -> float:
        """Words a second so far."""
        return self.totals.words / max(time.monotonic() - self._started, 1e-9)

    def __str__(self) -> str:
        totals = self.totals
        sentences = f"{totals.rows:,} sentences{f' ({totals.blank:,} blank)' if totals.blank else ''}"
        if not totals.words:
            return f"{sentences}, no words"
        bound = f", logprobs within {totals.error:.2g}" if totals.error else ""
        unknown = totals.unknown / max(1, totals.words - totals.ends)
        return (
            f"{sentences}, {totals.words:,} words, perplexity {totals.perplexity:,.2f},"
            f" {unknown:.2%} unknown, {self.speed():,.0f} words/s{bound}"
        )
