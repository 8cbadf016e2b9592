"""The format of a data set, by the name of its file."""

from __future__ import annotations

from pathlib import Path

from service.offline.bulk.jsonl import JsonLines
from service.offline.bulk.source import BulkError, Format


def format_of(path: Path, *, writing: bool = False) -> Format:
    """The format of a file; compressed JSON lines are read, not written.

    Raises:
        BulkError: the name has an unknown suffix, or one whose package is not installed.
    """
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        return JsonLines()
    if name.endswith((".jsonl.gz", ".ndjson.gz", ".jsonl.xz", ".ndjson.xz")) and not writing:
        return JsonLines()
    if name.endswith((".parquet", ".pq")):
        try:
            from service.offline.bulk.parquet import Parquet
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            raise BulkError("Parquet needs pyarrow: pip install 'headfirst[parquet]'") from None
        return Parquet()
    raise BulkError(f"{path}: the name must end in .jsonl or .parquet")
