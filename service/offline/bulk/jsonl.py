"""JSON lines: each line an object, plain, .gz or .xz. The fields that a line has stay byte for byte."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from pydantic_core import to_json

from service.offline.bulk.source import BulkError, Columns, Part, RowFault, Source, Span
from service.scoring.scored_text import ScoredText

CHUNK_BYTES: Final = 1 << 20
LINE: Final = "line"
"""The field that keeps a line which is not a JSON object."""

_FAULTS: Final = (OSError, EOFError, lzma.LZMAError, zlib.error)


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    return cast("IO[bytes]", lzma.open(path)) if path.suffix.lower() == ".xz" else path.open("rb")


class JsonLines:
    """See `service.offline.bulk.source.Format`."""

    suffix = ".jsonl"

    @contextmanager
    def open(self, path: Path, text_column: str) -> Iterator[Source]:
        """The lines of a file."""
        try:
            file = _open(path)
        except OSError as error:
            raise BulkError(f"{path}: {error.strerror or error}") from None
        with file:
            yield JsonLinesSource(file, path, text_column)

    def join(self, parts: Sequence[tuple[Path, int]], path: Path) -> None:
        """Concatenates the parts."""
        with path.open("wb") as out:
            for part, rows in parts:
                found = 0
                with part.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        found += chunk.count(b"\n")
                        out.write(chunk)
                if found != rows:
                    raise BulkError(f"{part} has {found:,} rows, not the {rows:,} that were kept")


class JsonLinesSource:
    """See `service.offline.bulk.source.Source`."""

    def __init__(self, file: IO[bytes], path: Path, text_column: str) -> None:
        self._file, self._path, self._text_column = file, path, text_column

    def spans(self, rows: int) -> list[Span]:
        """Reads the whole file once, to find the ends of lines."""
        spans: list[Span] = []
        try:
            self._file.seek(0)
            start = position = count = 0
            last = b"\n"
            while chunk := self._file.read(CHUNK_BYTES):
                at = 0
                while count + chunk.count(b"\n", at) >= rows:
                    for _ in range(rows - count):
                        at = chunk.index(b"\n", at) + 1
                    spans.append(Span(len(spans), len(spans) * rows, rows, start))
                    start, count = position + at, 0
                count += chunk.count(b"\n", at)
                position += len(chunk)
                last = chunk[-1:]
        except _FAULTS as error:
            raise BulkError(f"{self._path}: cannot read it: {error}") from None
        count += last != b"\n"
        if count:
            spans.append(Span(len(spans), len(spans) * rows, count, start))
        return spans

    def read(self, span: Span) -> Part:
        """The lines of the span, all of them in memory."""
        try:
            if self._file.tell() != span.offset:
                self._file.seek(span.offset)
            lines = [self._file.readline() for _ in range(span.rows)]
        except _FAULTS as error:
            raise BulkError(f"{self._path}: cannot read it: {error}") from None
        if not all(lines):
            raise BulkError(f"{self._path}: has become shorter")
        return JsonLinesPart(lines, span.first, self._path, self._text_column)


class JsonLinesPart:
    """See `service.offline.bulk.source.Part`."""

    def __init__(self, lines: Sequence[bytes], first: int, path: Path, text_column: str) -> None:
        self._lines, self._first, self._path = lines, first, path
        self._objects = [_object(line) for line in lines]
        self.texts = [_text(each, text_column) for each in self._objects]

    def write(self, path: Path, results: Sequence[ScoredText | None], columns: Columns) -> None:
        """Each object with more fields at its end."""
        with path.open("wb") as out:
            rows = zip(self._lines, self._objects, results, strict=True)
            for number, (line, found, result) in enumerate(rows, self._first + 1):
                if found is None:
                    found = {LINE: line.rstrip(b"\r\n").decode(errors="replace")}
                    line = to_json(found)
                for name in columns.names:
                    if name in found:
                        raise BulkError(f"{self._path}: line {number} has {name!r} already: give a --prefix")
                added = to_json(columns.values(result), inf_nan_mode="null")
                kept = line.removeprefix(b"\xef\xbb\xbf").strip()[:-1].rstrip()
                out.write(kept + (b"," if found else b"") + added[1:] + b"\n")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(found: dict[str, Any] | None, column: str) -> str | RowFault:
    if found is None:
        return RowFault.NOT_AN_OBJECT
    if column not in found:
        return RowFault.ABSENT
    text = found[column]
    if text is None:
        return RowFault.NULL
    return text if isinstance(text, str) else RowFault.NOT_TEXT
