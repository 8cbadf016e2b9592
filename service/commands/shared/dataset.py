"""`headfirst score --input FILE`: the rows of a data set, in parts; a run that was killed goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from service.commands.shared.session import UserError, load_bundle

if TYPE_CHECKING:
    from service.offline.bulk.checkpoint import Checkpoint
    from service.offline.bulk.job import Options
    from service.offline.bulk.source import Format, Source, Span
    from service.offline.bulk.tally import Tally

REPORT_SECONDS: Final = 30.0
"""Between two lines of progress where standard error is no terminal."""

STOPPED: Final = 130
"""128 + SIGINT."""


@dataclass(frozen=True, slots=True)
class Place:
    """The model and where it runs; as in `load_bundle`."""

    model: Path | None
    device: str
    threads: int | None


def run(
    path: Path, output: Path | None, options: Options, on: Place, *, restart: bool, overwrite: bool
) -> None:
    """Scores the rows of `path` that are not scored yet, makes one file of all parts, says what they are.

    The parts are in a folder beside the output, until that is there.

    Raises:
        UserError: what has to be changed.
    """
    from models.bundle import DEFAULT
    from service.offline.bulk.checkpoint import Checkpoint
    from service.offline.bulk.formats import format_of
    from service.offline.bulk.source import BulkError

    try:
        form, output = format_of(path), _checked(path, output)
        folder = output.with_name(output.name + ".parts")
        checkpoint = Checkpoint(folder, form.suffix)
        finished = checkpoint.was_finished()
        if output.exists() and not folder.exists() and not overwrite:
            if not finished:
                raise UserError(f"{output} exists already: give --overwrite to replace it")
            typer.echo(f"{output} was complete already", err=True)
            return
        with form.open(path, options.text_column) as source:
            job = options.identity([path], on.model or DEFAULT)
            with checkpoint.open(job, restart):
                spans = source.spans(options.part_rows)
                tally = _score(source, spans, options, checkpoint, on)
                _join(form, spans, checkpoint, output)
                checkpoint.finish()
    except BulkError as error:
        raise UserError(str(error)) from None
    typer.echo(str(tally), err=True)


def _checked(path: Path, output: Path | None) -> Path:
    from service.offline.bulk.formats import format_of

    if output is None:
        raise UserError("--input needs an --output")
    output = output.resolve()
    if format_of(output, writing=True).suffix != format_of(path).suffix:
        raise UserError(f"{output.name} must have the format of {path.name}")
    if output.exists() and path.exists() and output.samefile(path):
        raise UserError(f"{output} is the input, too")
    return output


def _score(
    source: Source, spans: Sequence[Span], options: Options, checkpoint: Checkpoint, on: Place
) -> Tally:
    from service.offline.bulk.job import score_span
    from service.offline.bulk.tally import Tally

    done = Tally()
    waiting: list[Span] = []
    for span in spans:
        tally = checkpoint.done(span)
        if tally is None:
            waiting.append(span)
        else:
            done.add(tally)
    if not waiting:
        return done
    progress = Progress(sum(span.rows for span in spans), done)
    if done.rows:
        typer.echo(f"goes on after {progress}", err=True)
    try:
        scorer = options.scorer(load_bundle(on.model, on.device, on.threads))
        with progress:
            for span in waiting:
                progress.begin(span)
                progress.end(score_span(source, span, scorer, options.columns, checkpoint, progress.advance))
    except KeyboardInterrupt:
        typer.echo(f"stopped after {progress}; the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    return done


def _join(form: Format, spans: Sequence[Span], checkpoint: Checkpoint, output: Path) -> None:
    from service.offline.bulk.checkpoint import replace

    parts = [(checkpoint.part(span), span.rows) for span in spans]
    replace(output, lambda path: form.join(parts, path), checkpoint.folder)


class Progress:
    """A bar on a terminal; elsewhere a line now and then.

    Args:
        size: rows in all.
        done: what the parts that are done amount to; those that follow are added.
    """

    def __init__(self, size: int, done: Tally) -> None:
        from service.commands.shared.progress import Bar

        self.size, self._done = size, done
        self._words, self._started, self._reported = done.words, time.monotonic(), time.monotonic()
        self._reached = done.rows
        self._bar = Bar(self, shared=False)

    def position(self) -> int:
        """Rows up to the end of the part that is at work."""
        return self._reached

    def __enter__(self) -> None:
        self._bar.__enter__()

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(None, None, None)

    def begin(self, span: Span) -> None:
        """A part is at work."""
        self._reached += span.rows
        self._bar.begin()

    def advance(self, share: float) -> None:
        """That share of the part is done."""
        self._bar.advance(share)

    def end(self, tally: Tally) -> None:
        """The part is done."""
        self._done.add(tally)
        with self._bar.end(str(self)):
            pass
        if not sys.stderr.isatty() and time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            typer.echo(str(self), err=True)

    def __str__(self) -> str:
        speed = (self._done.words - self._words) / max(time.monotonic() - self._started, 1e-9)
        text = f"{self._done.rows:,} of {self.size:,} rows"
        return text if self._done.words == self._words else f"{text}, {speed:,.0f} words/s"
