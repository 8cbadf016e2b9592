"""Progress on standard error, where that is a terminal and where it is not."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest

from service.commands.shared import progress


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Source:
    """A source whose position a test sets."""

    size: int | None
    at: int = 0

    def position(self) -> int:
        return self.at


# Not fixtures: pytest puts its own standard error in place between those and the test.
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def on_pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    return pipe


def test_a_files_share_advances_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    source = Source(1000)
    with progress.ReadingBar(source, shared=False) as bar:
        source.at = 600
        bar.begin()
        bar.advance(0.5)
        assert " 30%" in terminal.getvalue()
        assert " 60%" not in terminal.getvalue()
        with bar.end("3 sentences"):
            pass
    assert " 60%" in terminal.getvalue()
    assert "3 sentences" in terminal.getvalue()


def test_a_pipe_has_a_note_but_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.ReadingBar(Source(None), shared=False) as bar:
        bar.begin()
        with bar.end("3 sentences"):
            pass
    assert "3 sentences" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_results_that_share_the_terminal_begin_on_a_cleared_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.ReadingBar(Source(10), shared=True) as bar:
        bar.begin()
        with bar.end("note"):
            assert terminal.getvalue().endswith("\r\x1b[2K")


def test_no_bar_is_drawn_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = on_pipe(monkeypatch)
    with progress.ReadingBar(Source(10), shared=True) as bar, progress.counting("reading", 10) as heard:
        bar.begin()
        heard(5)
        with bar.end("note"):
            pass
    assert pipe.getvalue() == ""


def test_counting_shows_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.counting("reading", None, "positions") as heard:
        heard(1234)
    assert "reading 1,234 positions" in terminal.getvalue()


def test_measuring_tells_each_thing_once_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = on_pipe(monkeypatch)
    with progress.measuring() as tell:
        for what, share in (("exact", 0.0), ("exact", 0.3), ("full", 0.5), ("full", 1.0)):
            tell(what, share)
    assert pipe.getvalue().splitlines() == ["  0% exact", " 50% full"]


def test_measuring_draws_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress.measuring() as tell:
        tell("exact", 0.3)
    assert " 30%" in terminal.getvalue()
    assert "exact" in terminal.getvalue()


def test_reports_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = on_pipe(monkeypatch)
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reports = progress.Reports()
    for now in (101.0, 129.0, 131.0, 132.0, 160.0, 162.0):
        reports.tell(f"at {now:.0f}")
    assert pipe.getvalue().splitlines() == ["at 131", "at 162"]


def test_a_terminal_gets_no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(progress, "REPORT_SECONDS", -1.0)
    progress.Reports().tell("a line")
    assert terminal.getvalue() == ""


def test_a_line_above_the_bar_is_not_wrapped_or_read_as_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = on_pipe(monkeypatch)
    line = "[bold]step 10[/bold]: " + "held-out perplexity " * 10
    with progress.Bar(progress.note_column(), total=1) as bar:
        bar.say(line)
    assert pipe.getvalue() == line + "\n"
