"""The lines of a text file or a pipe, of any size, in bounded memory."""

from __future__ import annotations

import gzip
import lzma
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import fstat
from typing import IO, Final, NamedTuple, cast

CHUNK_BYTES: Final = 1 << 16
FIRST_WINDOW_BYTES: Final = 1 << 14
"""The first window is small, so that the first results come soon; each later one is twice as large, up to
`WINDOW_BYTES`."""
WINDOW_BYTES: Final = 1 << 18
WINDOW_LINES: Final = 4096
MAX_LINE_BYTES: Final = 1 << 20
PATIENCE: Final = 0.1
"""Seconds without a byte from a pipe or a terminal after which the lines read so far make a window."""

_OPENERS: Final[dict[str, Callable[[IO[bytes]], IO[bytes]]]] = {
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    ".xz": lambda file: cast("IO[bytes]", lzma.LZMAFile(file)),  # noqa: SIM115 -- its owner closes the file
}


class LinesError(ValueError):
    """The fault of the input, in one line."""


class Window(NamedTuple):
    """Consecutive lines, without their line ends; `first` is the number of the first one, from 1."""

    first: int
    texts: list[str]


class Lines:
    r"""Reads UTF-8 text in windows of lines. A line ends in ``\n``; the last one may lack it.

    Args:
        stream: what to read; decompressed.
        name: the input's name in errors.
        raw: the file below `stream`, whose position tells how much is read; None means `stream` itself.
        max_line_bytes: a longer line is an error.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        raw: IO[bytes] | None = None,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._stream = stream
        self._name = name
        self._raw = stream if raw is None else raw
        self._max_line_bytes = max_line_bytes
        self._pipe: int | None = None
        self.size: int | None = None
        """Bytes of the file, compressed or not; None for a pipe."""
        try:
            descriptor = self._raw.fileno()
        except OSError:  # in memory
            return
        status = fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            self.size = status.st_size
        elif sys.platform != "win32":  # there, select() knows sockets alone
            self._pipe = descriptor

    @classmethod
    @contextmanager
    def open(cls, path: str, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Lines]:
        """The lines of a file, decompressed if it ends in .gz or .xz; ``-`` is standard input.

        Raises:
            LinesError: the file cannot be opened.
        """
        if path == "-":
            yield cls(_standard_input(), "standard input", max_line_bytes=max_line_bytes)
            return
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123 -- closed below; "-" is no path
        except (OSError, ValueError) as error:
            raise LinesError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        with file:
            opener = _OPENERS.get(path[-3:])
            raw = cast("IO[bytes]", file)
            yield cls(raw if opener is None else opener(raw), path, raw, max_line_bytes)

    def position(self) -> int:
        """Bytes read from the file; 0 for a pipe."""
        return 0 if self.size is None else self._raw.tell()

    def windows(self) -> Iterator[Window]:
        """All lines in order. A window is cut early when a pipe falls silent.

        Raises:
            LinesError: a line is too long or not UTF-8, or the file is damaged; after the lines before it.
        """
        first, texts, held, room = 1, list[str](), 0, FIRST_WINDOW_BYTES
        fault: LinesError | None = None
        try:
            for line in self._lines():
                if line:
                    texts.append(self._decode(line, first + len(texts)))
                    held += len(line)
                full = held >= room or len(texts) >= WINDOW_LINES
                if texts and (full or not line):
                    yield Window(first, texts)
                    first, texts, held = first + len(texts), [], 0
                    room = min(2 * room, WINDOW_BYTES) if full else room
        except LinesError as error:
            fault = error
        if texts:
            yield Window(first, texts)
        if fault is not None:
            raise fault

    def _lines(self) -> Iterator[bytes]:
        r"""Lines with their ``\n``, the last one too; b"" where a pipe is silent."""
        number, pending = 1, bytearray()
        while True:
            if self._silent():
                yield b""
            chunk = self._read()
            if chunk is None:  # the pipe is non-blocking, and empty
                continue
            first, *others = chunk.split(b"\n")
            pending += first
            self._check_length(pending, number)
            for part in others:
                yield bytes(pending + b"\n")
                number, pending = number + 1, bytearray(part)
                self._check_length(pending, number)
            if not chunk:
                break
        if pending:
            yield bytes(pending + b"\n")

    def _silent(self) -> bool:
        return self._pipe is not None and not select.select([self._pipe], [], [], PATIENCE)[0]

    def _read(self) -> bytes | None:
        try:
            return self._stream.read(CHUNK_BYTES)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise LinesError(f"{self._name}: cannot read it: {error}") from None

    def _check_length(self, line: bytearray, number: int) -> None:
        if len(line) > self._max_line_bytes:
            raise LinesError(f"{self._name}: line {number} is longer than {self._max_line_bytes:,} bytes")

    def _decode(self, line: bytes, number: int) -> str:
        try:
            return line[:-1].decode()
        except UnicodeDecodeError as error:
            raise LinesError(
                f"{self._name}: line {number} is not valid UTF-8 (byte {error.start + 1} of the line)"
            ) from None


def _standard_input() -> IO[bytes]:
    """Standard input without a buffer, so that `select` sees all bytes that are still unread."""
    if sys.stdin is None:
        raise LinesError("standard input is closed")
    try:
        descriptor = sys.stdin.fileno()
    except OSError:  # replaced by something in memory
        return sys.stdin.buffer
    return cast("IO[bytes]", open(descriptor, "rb", buffering=0, closefd=False))
