"""Commands as processes of their own: pipes, terminals, memory, what help imports."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from service.commands.shared.session import UserError, show
from tests.support.server_process import clean_environment

COMMAND = [sys.executable, "-m", "service.cli"]
SENTENCE = b"Thank you very much for that, it was in the bin and zzz of you.\n"
WORDS = 18  # with the comma, the period and the end of the sentence


def start(*arguments: object, **streams: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, *map(str, arguments)], env=clean_environment(), **streams
    )


@pytest.mark.parametrize(
    "arguments", [("--help",), ("score", "--help"), ("predict", "--help"), ("--version",)]
)
def test_help_imports_no_torch(arguments: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom service.cli import app\n"
        f"try: app({list(arguments)})\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'tokenizers', 'fastapi'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a living process has held."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


class Stream:
    """`headfirst score -`, fed while its rows are read."""

    def __init__(self, bundle_path: Path) -> None:
        arguments = ("score", "-", "--model", bundle_path, "--threads", 1)
        self.process = start(
            *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ask(self, lines: Iterator[bytes]) -> list[bytes]:
        """Writes `lines` and reads as many rows; the input stays open."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        texts = list(lines)
        writer = threading.Thread(target=self._write, args=(texts,))
        writer.start()
        rows = list(islice(self.process.stdout, len(texts)))
        writer.join()
        return rows

    def _write(self, lines: list[bytes]) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write(line)
        self.process.stdin.flush()

    def end(self) -> str:
        """Closes the input; what the process wrote to standard error."""
        out, errors = self.process.communicate(timeout=60)
        assert out == b""
        assert self.process.returncode == 0, errors
        return errors.decode()


def numbered(count: int) -> Iterator[bytes]:
    """Lines of 1 to 30 words, each with its number."""
    for i in range(count):
        yield b"%d " % i + b"the bin " * (i % 15) + b"\n"


def check_stream(bundle_path: Path, first: int, more: int, allowance: int) -> None:
    stream = Stream(bundle_path)
    try:
        assert len(stream.ask(iter([b"Thank you\n"]))) == 1
        before = [json.loads(row) for row in stream.ask(numbered(first))]
        held = peak_bytes(stream.process)
        for _ in range(more):
            rows = [json.loads(row) for row in stream.ask(numbered(first))]
            assert [row["words"][0]["word"] for row in rows] == [str(i) for i in range(first)]
            assert [row["logprob"] for row in rows] == pytest.approx(
                [row["logprob"] for row in before], abs=1e-3
            )
        assert peak_bytes(stream.process) - held < allowance
        summary = stream.end()
    finally:
        stream.process.kill()
    assert summary.startswith(f"{1 + first * (1 + more):,} sentences, ")
    assert summary.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this system")
def test_a_stream_is_answered_as_it_comes_in_bounded_memory(bundle_path: Path) -> None:
    check_stream(bundle_path, 4000, 3, allowance=24 << 20)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this system")
def test_200_000_lines_in_bounded_memory(bundle_path: Path) -> None:
    check_stream(bundle_path, 20_000, 10, allowance=24 << 20)


def test_a_reader_that_goes_away_ends_it_quietly(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(SENTENCE * 4000)
    arguments = ("score", path, "--model", bundle_path)
    with start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        status = process.wait(60)
    assert json.loads(first)["word_count"] == WORDS
    assert errors == b""
    assert status == 141


def test_a_closed_input_is_one_line(bundle_path: Path) -> None:
    arguments = [*COMMAND, "score", "-", "--model", str(bundle_path)]
    run = subprocess.run(
        ["/bin/sh", "-c", '"$@" <&-', "sh", *arguments],
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr == b"headfirst score: standard input is closed\n"


def test_a_closed_output_is_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UserError, match="standard output is closed"):
        show("the")


def terminal(arguments: list[object], shared: bool) -> tuple[str, bytes]:
    """What a command shows on a terminal, and its standard output where that is none."""
    mine, theirs = pty.openpty()
    output = theirs if shared else subprocess.PIPE
    process = start(*arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=theirs)
    os.close(theirs)
    shown = bytearray()

    def watch() -> None:
        while True:
            try:
                shown.extend(os.read(mine, 65536))
            except OSError:  # the other side is closed: its process ended
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate(timeout=120)
    watcher.join()
    os.close(mine)
    assert process.returncode == 0, shown
    return shown.decode(), out or b""


@pytest.mark.parametrize("shared", [False, True])
def test_a_bar_on_a_terminal(bundle_path: Path, tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(SENTENCE * 600)
    shown, out = terminal(["score", path, "--model", bundle_path, "--no-per-word"], shared)
    assert "\u2501" in shown
    assert "100%" in shown
    assert "600 sentences" in shown
    lines = shown.replace("\x1b[2K", "").replace("\r", "\n").split("\n")
    rows = [line for line in lines if line.startswith("{")]
    assert len(rows) == (600 if shared else 0)
    assert out.count(b"\n") == (0 if shared else 600)
    assert b"\x1b" not in out
    assert all(json.loads(row)["word_count"] == WORDS for row in rows)
