"""The progress bar of a command that reads lines and writes results: on standard error, if a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.control import Control
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import ControlType

_CLEAR_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class Measured(Protocol):
    """What is read, as far as progress goes."""

    @property
    def size(self) -> int | None:
        """Of all of it; None if nobody knows."""

    def position(self) -> int:
        """How much of that is read."""


class Bar:
    """Shows the share of a file that is done and a note; of a pipe the note alone.

    Args:
        lines: what is read.
        shared: whether results go to a terminal, too; they are then written above the bar.
    """

    def __init__(self, lines: Measured, shared: bool) -> None:
        self._lines = lines
        self._console = Console(stderr=True)
        self._enabled = sys.stderr.isatty()
        self._shared = shared
        note: list[ProgressColumn] = [TextColumn("{task.description}")]
        known: list[ProgressColumn] = [BarColumn(), TaskProgressColumn(), *note, TimeRemainingColumn()]
        # Drawn by hand: a thread of its own would draw between results that share the terminal.
        self._progress = Progress(
            *(note if lines.size is None else known), console=self._console, auto_refresh=False
        )
        self._done = float(lines.position())
        self._task = self._progress.add_task("", total=lines.size, completed=int(self._done))
        self._target = self._done

    def __enter__(self) -> Self:
        if self._enabled:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._enabled:
            self._progress.stop()

    def begin(self) -> None:
        """A window of lines was read."""
        self._done, self._target = self._target, float(self._lines.position())

    def advance(self, share: float) -> None:
        """That share of the window is done."""
        if self._enabled:
            step = (self._target - self._done) * share
            self._progress.update(self._task, advance=step, refresh=True)

    @contextmanager
    def end(self, note: str) -> Iterator[None]:
        """The window is done; its results are written within this context."""
        if self._enabled and self._shared:
            self._console.control(_CLEAR_LINE)
        yield
        if self._enabled:
            self._progress.update(self._task, completed=self._target, description=note, refresh=True)
