"""`headfirst score FILE`: how probable is each line, without a server."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from service.commands.shared import dataset as bulk
from service.commands.shared.options import Device, Mode, Model, ModeName, Pretokenized, Threads
from service.commands.shared.session import UserError, load_bundle, session, standard_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.bundle import Bundle
    from service.offline.lines import Lines
    from service.offline.rows import Rows
    from service.offline.scorer import ScoredText, Scorer


BULK: Final = "A data set"


class Format(StrEnum):
    """How results are written."""

    JSONL = "jsonl"
    TSV = "tsv"
    CSV = "csv"


def score(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="UTF-8 text, one sentence a line, plain, .gz or .xz; - is standard input.",
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    threads: Threads = None,
    mode: Mode = ModeName.EXACT,
    pretokenized: Pretokenized = False,
    context: Annotated[str, typer.Option(help="Text that each line follows; read, not scored.")] = "",
    output_format: Annotated[Format, typer.Option("--format", help="JSON lines, TSV or CSV.")] = Format.JSONL,
    per_word: Annotated[
        bool | None,
        typer.Option(show_default="yes for FILE, no for --input", help="List the words of each line."),
    ] = None,
    end_of_sentence: Annotated[bool, typer.Option(help="Score the end of sentence after each line.")] = True,
    output: Annotated[
        Path | None, typer.Option(show_default="standard output", help="Where to write the results.")
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Words computed side by side: speed against memory.")
    ] = 4096,
    max_line_bytes: Annotated[int, typer.Option(min=1, help="A longer line is an error.")] = 1 << 20,
    data: Annotated[
        Path | None,
        typer.Option(
            "--input",
            rich_help_panel=BULK,
            help="Instead of FILE: rows as .jsonl or .parquet, to be scored into --output.",
        ),
    ] = None,
    text_column: Annotated[
        str, typer.Option(rich_help_panel=BULK, help="Column or field that holds the text.")
    ] = "text",
    prefix: Annotated[
        str, typer.Option(rich_help_panel=BULK, help="Stands before the names of the added columns.")
    ] = "",
    part_rows: Annotated[
        int, typer.Option(min=1, rich_help_panel=BULK, help="Rows that are kept at a time.")
    ] = 10_000,
    restart: Annotated[
        bool, typer.Option("--restart", rich_help_panel=BULK, help="Throw away what is done already.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=BULK, help="Replace an output that is there.")
    ] = False,
) -> None:
    """Score a text line by line: log-probability, perplexity, each word's share.

    JSON lines: one object a line, as /v1/score answers it.

    TSV, with a header: by default a row a word (line, position, word, logprob,
    surprisal in bits, known); with --no-per-word a row a line (line, logprob,
    perplexity, word_count, unknown_words). Fields are not quoted: in R
    read.delim(quote="", na.strings=character()), in pandas
    read_csv(sep="\\t", quoting=csv.QUOTE_NONE, keep_default_na=False).
    CSV has the same rows, with quotes where they are needed.

    Logarithms are natural. With --mode fast each JSON object has
    logprob_error, the most by which a word's may be off; the last line on
    standard error tells the largest. Results come in the order of the lines,
    one for each; a line without a word has word_count 0 and no perplexity.
    Files of any size are read in bounded memory.

    With --input each row of a data set gets the columns logprob, perplexity,
    word_count and unknown_words (with --per-word also words); its others are
    kept. A row without a text gets nulls, and is counted. A part is kept when
    it is done, in a folder beside the output: after a kill the same command
    goes on where it was. Parquet needs the extra headfirst[parquet].
    """
    if data is not None:
        with session("score"):
            if file is not None or output_format is not Format.JSONL:
                raise UserError(f"--input goes without {'--format' if file is None else 'FILE'}")
            from service.offline.bulk.job import Options
            from service.offline.bulk.source import Columns

            columns = Columns(prefix, bool(per_word), mode is ModeName.FAST)
            options = Options(
                text_column, context, end_of_sentence, pretokenized, batch_tokens, part_rows, columns
            )
            place = bulk.Place(model, device, threads)
            bulk.run(data, output, options, place, restart=restart, overwrite=overwrite)
        return
    with session("score"):
        from service.offline.lines import Lines, LinesError

        if file is None:
            raise UserError("give a FILE, or a data set as --input")
        try:
            with Lines.open(file, max_line_bytes) as lines:
                _check_output(output, file)
                bundle = load_bundle(model, device, threads)
                fast = mode is ModeName.FAST
                scorer = _scorer(bundle, context, end_of_sentence, batch_tokens, fast, pretokenized)
                header, rows = _format(output_format, per_word is not False)
                summary = Summary(end_of_sentence)
                with _open(output) as out, _frozen():
                    _write(lines, scorer, header, rows, out, summary)
        except LinesError as error:
            raise UserError(str(error)) from None
        typer.echo(str(summary), err=True)


def _check_output(output: Path | None, file: str) -> None:
    if output is not None and output.is_file() and Path(file).exists() and output.samefile(file):
        raise UserError(f"{output} is the input, too")


def _scorer(
    bundle: Bundle, context: str, end_of_sentence: bool, batch_tokens: int, fast: bool, pretokenized: bool
) -> Scorer:
    from service.offline.scorer import Scorer

    try:
        return Scorer(bundle, context, end_of_sentence, batch_tokens, fast, pretokenized)
    except ValueError as error:
        raise UserError(f"--context is {error}") from None


def _format(output_format: Format, per_word: bool) -> tuple[str, Rows]:
    from service.offline.rows import Csv, Tsv, json_rows, table_rows

    if output_format is Format.JSONL:
        return "", json_rows(per_word)
    return table_rows(Csv if output_format is Format.CSV else Tsv, per_word)


@contextmanager
def _frozen() -> Iterator[None]:
    """What is loaded stays: looking through it at every collection would halve the tokenizer's speed."""
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
    from service.commands.shared.progress import Bar

    out.write(header.encode())
    out.flush()
    with Bar(lines, shared=out.isatty()) as bar:
        for window in lines.windows():
            bar.begin()
            results = scorer.score(window.texts, bar.advance)
            summary.add(results)
            with bar.end(f"{summary.sentences:,} sentences, {summary.speed():,.0f} words/s"):
                out.write(rows(window.first, results).encode())
                out.flush()


@dataclass(slots=True)
class Summary:
    """Totals of a run; `words` counts the ends of sentences where they are scored."""

    end_of_sentence: bool
    started: float = field(default_factory=time.monotonic)
    sentences: int = 0
    blank: int = 0
    words: int = 0
    unknown: int = 0
    logprob: float = 0.0
    error: float = 0.0

    def add(self, texts: Sequence[ScoredText]) -> None:
        """Counts the results of a window."""
        for text in texts:
            self.sentences += 1
            self.blank += not text.tokens
            self.words += len(text.tokens)
            self.unknown += text.unknown_words
            self.logprob += text.logprob
            self.error = max(self.error, text.error)

    def speed(self) -> float:
        """Words a second so far."""
        return self.words / max(time.monotonic() - self.started, 1e-9)

    def __str__(self) -> str:
        from service.contract.numbers import perplexity

        proper = self.words - (self.sentences - self.blank if self.end_of_sentence else 0)
        blank = f" ({self.blank:,} blank)" if self.blank else ""
        bound = f", logprobs within {self.error:.2g}" if self.error else ""
        if not self.words:
            return f"{self.sentences:,} sentences{blank}, no words"
        return (
            f"{self.sentences:,} sentences{blank}, {self.words:,} words,"
            f" perplexity {perplexity(self.logprob, self.words):,.2f},"
            f" {self.unknown / max(1, proper):.2%} unknown, {self.speed():,.0f} words/s{bound}"
        )
