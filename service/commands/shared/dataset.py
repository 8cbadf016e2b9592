"""`headfirst score --input FILE`: the rows of a data set, in parts; the next run continues a killed one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from service.commands.shared.options import Place
from service.commands.shared.progress import ReadingBar, Reports
from service.commands.shared.scoring import DataSetOptions, ScoringOptions
from service.commands.shared.session import STOPPED, UserError, load_bundle

if TYPE_CHECKING:
    from service.offline.bulk.checkpoint import Checkpoint
    from service.offline.bulk.job import JobOptions
    from service.offline.bulk.source import Format, Source, Span
    from service.offline.bulk.tally import Tally


def score_data_set(path: Path, place: Place, options: ScoringOptions, data_set: DataSetOptions) -> None:
    """Scores the rows of `path` that are not scored yet, joins all parts in one file, reports the totals.

    The parts are in a folder beside the output until the output is complete.

    Raises:
        UserError: a file, an option or the model does not fit.
    """
    from models.bundle import DEFAULT
    from service.offline.bulk.checkpoint import Checkpoint
    from service.offline.bulk.formats import format_of
    from service.offline.bulk.source import BulkError

    job = _job(options, data_set)
    try:
        form, output = format_of(path), _checked(path, options.output)
        folder = output.with_name(output.name + ".parts")
        checkpoint = Checkpoint(folder, form.suffix)
        finished = checkpoint.was_finished()
        if output.exists() and not folder.exists() and not data_set.overwrite:
            if not finished:
                raise UserError(f"{output} exists already: give --overwrite to replace it")
            typer.echo(f"{output} was complete already", err=True)
            return
        with form.open(path, job.text_column) as source:
            identity = job.identity([path], place.model or DEFAULT)
            with checkpoint.open(identity, data_set.restart):
                spans = source.spans(job.part_rows)
                tally = _score(source, spans, job, checkpoint, place)
                _join(form, spans, checkpoint, output)
                checkpoint.finish()
    except BulkError as error:
        raise UserError(str(error)) from None
    typer.echo(str(tally), err=True)


def _job(options: ScoringOptions, data_set: DataSetOptions) -> JobOptions:
    from service.offline.bulk.job import JobOptions
    from service.offline.bulk.source import Columns

    return JobOptions(
        data_set.text_column,
        options.context,
        options.end_of_sentence,
        options.pretokenized,
        options.batch_tokens,
        data_set.part_rows,
        options.unknown_name,
        options.unknown_penalty,
        options.lines,
        options.ignore_case,
        Columns(data_set.prefix, bool(options.per_word), options.fast, options.group_name, options.lines),
    )


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
    source: Source, spans: Sequence[Span], job: JobOptions, checkpoint: Checkpoint, place: Place
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
    progress = JobProgress(sum(span.rows for span in spans), done)
    if done.rows:
        typer.echo(f"goes on after {progress}", err=True)
    try:
        scorer = job.scorer(load_bundle(place.model, place.device, place.threads))
        with progress:
            for span in waiting:
                progress.begin(span)
                progress.end(score_span(source, span, scorer, job.columns, checkpoint, progress.advance))
    except KeyboardInterrupt:
        typer.echo(f"stopped after {progress}; the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    return done


def _join(form: Format, spans: Sequence[Span], checkpoint: Checkpoint, output: Path) -> None:
    from service.offline.bulk.checkpoint import replace

    parts = [(checkpoint.part(span), span.rows) for span in spans]
    replace(output, lambda path: form.join(parts, path), checkpoint.folder)


class JobProgress:
    """The progress of a job: a bar on a terminal, elsewhere a line now and then.

    Args:
        size: rows in all.
        done: totals of the finished parts; further parts are added to it.
    """

    def __init__(self, size: int, done: Tally) -> None:
        self.size, self._done = size, done
        self._words, self._started, self._reached = done.words, time.monotonic(), done.rows
        self._bar, self._reports = ReadingBar(self, shared=False), Reports()

    def position(self) -> int:
        """Rows up to the end of the current part."""
        return self._reached

    def __enter__(self) -> None:
        self._bar.__enter__()

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def begin(self, span: Span) -> None:
        """Begins a part."""
        self._reached += span.rows
        self._bar.begin()

    def advance(self, share: float) -> None:
        """Advances by a share of the part."""
        self._bar.advance(share)

    def end(self, tally: Tally) -> None:
        """Ends the part."""
        self._done.add(tally)
        with self._bar.end(str(self)):
            self._reports.tell(str(self))

    def __str__(self) -> str:
        speed = (self._done.words - self._words) / max(time.monotonic() - self._started, 1e-9)
        text = f"{self._done.rows:,} of {self.size:,} rows"
        return text if self._done.words == self._words else f"{text}, {speed:,.0f} words/s"
