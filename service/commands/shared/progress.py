"""Progress on standard error: bars where it is a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, Self

import typer
from rich.console import Console
from rich.control import Control
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import ControlType

REPORT_SECONDS: Final = 30.0
"""Between two lines of progress where standard error is not a terminal."""

_CLEAR_LINE: Final = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class Bar:
    """One bar; not drawn where standard error is not a terminal.

    Args:
        columns: rich's columns, in their order.
        total: where it ends; None if unknown.
        done: where it begins.
        note: the text of `note_column`.
        by_hand: drawn at each `by` and `to`, not by a thread of rich's: that would take time from what is
            timed, or draw between results that share the terminal.
        transient: erased at its end.
    """

    def __init__(
        self,
        *columns: ProgressColumn,
        total: float | None,
        done: float = 0,
        note: str = "",
        by_hand: bool = False,
        transient: bool = False,
    ) -> None:
        self.shown = sys.stderr.isatty()
        self.console = Console(stderr=True)
        self._by_hand = by_hand
        self._progress = Progress(
            *columns,
            console=self.console,
            auto_refresh=not by_hand,
            transient=transient,
            disable=not self.shown,
        )
        # rich takes whole numbers here alone.
        self._task = self._progress.add_task(note, total=total, completed=int(done))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def by(self, amount: float) -> None:
        """Advances by an amount."""
        self._progress.update(self._task, advance=amount, refresh=self._by_hand)

    def to(self, done: float, note: str) -> None:
        """Advances to an amount; shows another note."""
        self._progress.update(self._task, completed=done, description=note, refresh=self._by_hand)

    def say(self, line: str) -> None:
        """Writes a line, above the bar if that is drawn."""
        self.console.print(line, markup=False, soft_wrap=True)


def note_column() -> ProgressColumn:
    """The column that shows a bar's note."""
    return TextColumn("{task.description}")


class Reports:
    """Lines of progress where standard error is not a terminal, one in `REPORT_SECONDS` at most."""

    def __init__(self) -> None:
        self._enabled = not sys.stderr.isatty()
        self._last = time.monotonic()

    def tell(self, line: str) -> None:
        """Writes the line if it is time for one."""
        if self._enabled and time.monotonic() - self._last > REPORT_SECONDS:
            self._last = time.monotonic()
            typer.echo(line, err=True)


@contextmanager
def counting(what: str, total: int | None, unit: str = "sizes") -> Iterator[Callable[[int], None]]:
    """A bar that counts units; gives the function that advances it."""
    columns = [note_column(), TextColumn("{task.completed:,} " + unit)]
    known = [BarColumn(), TimeRemainingColumn()] if total is not None else []
    with Bar(*columns, *known, total=total, note=what, transient=True) as bar:
        yield bar.by


@contextmanager
def measuring() -> Iterator[Callable[[str, float], None]]:
    """A bar, elsewhere a line a thing; gives a function of the thing measured and the share that is done."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), note_column())
    told = ""
    with Bar(*columns, total=1.0, by_hand=True, transient=True) as bar:

        def tell(what: str, share: float) -> None:
            nonlocal told
            if bar.shown:
                bar.to(share, what)
            elif what != told:
                typer.echo(f"{share:4.0%} {what}", err=True)
            told = what

        yield tell


class Measured(Protocol):
    """A source that is read from its beginning to its end."""

    @property
    def size(self) -> int | None:
        """The size of the whole; None if unknown."""

    def position(self) -> int:
        """How much of it is read."""


class ReadingBar:
    """Shows the share of a file that is done, and a note; for a pipe the note alone.

    Args:
        source: what is read.
        shared: whether the results go to a terminal, too; they are then written above the bar.
    """

    def __init__(self, source: Measured, shared: bool) -> None:
        self._source, self._shared = source, shared
        self._done = self._target = float(source.position())
        known = [BarColumn(), TaskProgressColumn(), note_column(), TimeRemainingColumn()]
        columns = [note_column()] if source.size is None else known
        self._bar = Bar(*columns, total=source.size, done=self._done, by_hand=True)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def begin(self) -> None:
        """Begins a window, which was just read."""
        self._done, self._target = self._target, float(self._source.position())

    def advance(self, share: float) -> None:
        """Advances by a share of the window."""
        self._bar.by((self._target - self._done) * share)

    @contextmanager
    def end(self, note: str) -> Iterator[None]:
        """Ends the window; its results are written within this context."""
        if self._bar.shown and self._shared:
            self._bar.console.control(_CLEAR_LINE)
        yield
        self._bar.to(self._target, note)
