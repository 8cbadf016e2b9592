"""Parquet, by pyarrow: existing columns stay as they are, types and metadata included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from service.offline.bulk.source import BulkError, Columns, Part, RowFault, Source, Span
from service.scoring.scored_text import ScoredText

READ_ROWS: Final = 4096
GROUP_ROWS: Final = 1 << 17
GROUP_BYTES: Final = 1 << 27
"""Joined parts make row groups of about this many rows, or of this many bytes if those are fewer rows."""

_WORD: Final = pa.struct(
    {
        "word": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "logprob": pa.float64(),
        "known": pa.bool_(),
        "token": pa.string(),
        "tokens": pa.int32(),
        "unknown_words": pa.int32(),
    }
)
_LINE: Final = pa.struct(
    {
        "logprob": pa.float64(),
        "word_count": pa.int32(),
        "unknown_words": pa.int32(),
        "perplexity": pa.float64(),
    }
)
_TYPES: Final = {
    "logprob": pa.float64(),
    "perplexity": pa.float64(),
    "known_perplexity": pa.float64(),
    "word_count": pa.int32(),
    "unknown_words": pa.int32(),
    "logprob_error": pa.float64(),
    "lines": pa.list_(_LINE),
    "words": pa.list_(_WORD),
}


class Parquet:
    """See `service.offline.bulk.source.Format`."""

    suffix = ".parquet"

    @contextmanager
    def open(self, path: Path, text_column: str) -> Iterator[Source]:
        """The rows of a file."""
        try:
            with path.open("rb"):  # the errors of `open` are shorter than pyarrow's
                file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise BulkError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        with file:
            _check_column(file.schema_arrow, path, text_column)
            yield ParquetSource(file, path, text_column)

    def join(self, parts: Sequence[tuple[Path, int]], path: Path) -> None:
        """Concatenates the parts, in row groups of a size that reads fast."""
        writer: pq.ParquetWriter | None = None
        waiting: list[pa.Table] = []
        try:
            for part, rows in parts:
                table = pq.read_table(part, memory_map=False, partitioning=None)
                if len(table) != rows:
                    raise BulkError(f"{part} has {len(table):,} rows, not the {rows:,} that were kept")
                writer = writer or pq.ParquetWriter(path, table.schema)
                waiting.append(table)
                if (
                    sum(map(len, waiting)) >= GROUP_ROWS
                    or sum(each.nbytes for each in waiting) >= GROUP_BYTES
                ):
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
            if writer is not None and waiting:
                writer.write_table(pa.concat_tables(waiting))
        finally:
            if writer is not None:
                writer.close()


class ParquetSource:
    """See `service.offline.bulk.source.Source`."""

    def __init__(self, file: pq.ParquetFile, path: Path, text_column: str) -> None:
        self._file, self._path, self._text_column = file, path, text_column
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._rest: list[pa.RecordBatch] = []
        self._at = -1

    def spans(self, rows: int) -> list[Span]:
        """From the file's footer. Without a row there is one empty span, which keeps the columns."""
        total = self._file.metadata.num_rows
        starts = range(0, max(total, 1), rows)
        return [Span(number, first, min(rows, total - first)) for number, first in enumerate(starts)]

    def read(self, span: Span) -> Part:
        """The rows of the span, all of them in memory."""
        try:
            if span.first != self._at:
                self._seek(span.first)
            batches, wanted = [], span.rows
            while wanted:
                batch = self._rest.pop() if self._rest else next(self._batches)
                if len(batch) > wanted:
                    self._rest.append(batch.slice(wanted))
                    batch = batch.slice(0, wanted)
                batches.append(batch)
                wanted -= len(batch)
        except (OSError, pa.ArrowException) as error:
            self._at = -1
            raise BulkError(f"{self._path}: cannot read it: {error}") from None
        except StopIteration:
            self._at = -1
            raise BulkError(f"{self._path}: has fewer rows than its footer tells") from None
        self._at = span.first + span.rows
        schema = batches[0].schema if batches else self._file.schema_arrow
        return ParquetPart(pa.Table.from_batches(batches, schema), self._path, self._text_column)

    def _seek(self, row: int) -> None:
        """Goes to a row: earlier row groups are not read, earlier rows of its own group are skipped."""
        group, metadata = 0, self._file.metadata
        while group < metadata.num_row_groups and row >= metadata.row_group(group).num_rows:
            row -= metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, metadata.num_row_groups))
        self._batches, self._rest = iter(self._file.iter_batches(READ_ROWS, groups)), []
        while row:
            batch = next(self._batches)
            if len(batch) > row:
                self._rest.append(batch.slice(row))
            row -= min(row, len(batch))


class ParquetPart:
    """See `service.offline.bulk.source.Part`."""

    def __init__(self, table: pa.Table, path: Path, text_column: str) -> None:
        self._table, self._path = table, path
        self.texts = _texts(table.column(text_column))

    def write(self, path: Path, results: Sequence[ScoredText | None], columns: Columns) -> None:
        """The table with more columns at its end."""
        table = self._table
        rows = [columns.values(result) for result in results]
        for name in columns.names:
            if name in table.column_names:
                raise BulkError(f"{self._path}: has a column {name!r} already: give a --prefix")
            kind = _TYPES[name.removeprefix(columns.prefix)]
            table = table.append_column(name, pa.array([row[name] for row in rows], kind))
        pq.write_table(table, path)


def _check_column(schema: pa.Schema, path: Path, name: str) -> None:
    found = schema.names.count(name)
    if found != 1:
        names = ", ".join(schema.names)
        raise BulkError(
            f"{path}: has {'no column' if not found else 'several columns'} {name!r}; its columns are {names}"
        )
    kind = schema.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    texts = types.is_string, types.is_large_string, types.is_string_view, types.is_null
    if not any(is_text(kind) for is_text in texts):
        raise BulkError(f"{path}: the column {name!r} is {kind}, not text")


def _texts(column: pa.ChunkedArray) -> list[str | RowFault]:
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        values = [_value(scalar) for scalar in column]
    return [RowFault.NULL if value is None else value for value in values]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return RowFault.NOT_UNICODE
