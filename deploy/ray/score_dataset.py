"""Scores a data set on a Ray cluster: Parquet or JSON lines, any size; killed and started again, it goes on.

    python deploy/ray/score_dataset.py --input /data/rows --text-column text --output /data/scored --actors 8

The output is a folder with a file a part: the rows of the input in order, each once, with the columns that
`headfirst score --input` adds. Both folders must be seen by every node under the same path.

Ray Data streams the *places* of the parts (file, first row, number of rows) to a pool of actors, each with a
model of its own. An actor reads the rows of a part, scores them and keeps them atomically, under a name that
depends on the place alone. So a part that Ray runs twice, or a job that was killed and is started again,
loses nothing and doubles nothing, and rows never travel between nodes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from models.bundle import DEFAULT, Bundle
from service.offline.bulk.checkpoint import Checkpoint
from service.offline.bulk.formats import format_of
from service.offline.bulk.job import JobOptions, score_span
from service.offline.bulk.source import BulkError, Columns, Source, Span
from service.offline.bulk.tally import Tally

SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".pq")
REPORT_SECONDS = 10.0


def inputs(path: Path) -> list[Path]:
    """The files of a data set, in the order of their names. Raises BulkError."""
    files = [path]
    if path.is_dir():
        found = sorted(path.rglob("*"))
        files = [file for file in found if file.is_file() and file.name[0] not in "._"]
    if not files or any(file.suffix.lower() not in SUFFIXES for file in files):
        raise BulkError(f"{path}: needs files that end in one of {', '.join(SUFFIXES)}, not compressed")
    if len({format_of(file).suffix for file in files}) > 1:
        raise BulkError(f"{path}: has files of several formats")
    return files


def places(files: Sequence[Path], options: JobOptions) -> list[tuple[Path, Span]]:
    """Every part of the job with the file that it is in; parts are numbered through all files."""
    found: list[tuple[Path, Span]] = []
    for path in files:
        with format_of(path).open(path, options.text_column) as source:
            spans = source.spans(options.part_rows)
        found += [(path, replace(span, number=len(found) + at)) for at, span in enumerate(spans)]
    return found


class ScorePart:
    """An actor: a model, and the file that it reads from at the moment."""

    def __init__(
        self, model: Path, device: str, threads: int, options: JobOptions, checkpoint: Checkpoint
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._options, self._checkpoint = options, checkpoint
        self._scorer = options.scorer(Bundle.load(model, device))
        self._path: Path | None = None
        self._open = contextlib.ExitStack()
        self._source: Source | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Scores and keeps one part; the row that comes out tells which, and its number of rows."""
        path = Path(row["path"])
        if self._source is None or path != self._path:
            self._open.close()
            opened = format_of(path).open(path, self._options.text_column)
            self._source, self._path = self._open.enter_context(opened), path
        span = Span(row["number"], row["first"], row["rows"], row["offset"])
        score_span(self._source, span, self._scorer, self._options.columns, self._checkpoint)
        return {"number": span.number, "rows": span.rows}


def score(
    files: Sequence[Path], output: Path, options: JobOptions, model: Path, pool: argparse.Namespace
) -> Tally:
    """Scores what is not scored yet. Raises BulkError."""
    checkpoint = Checkpoint(output, format_of(files[0]).suffix)
    with checkpoint.open(options.identity(files, model), pool.restart):
        parts = places(files, options)
        total = sum(span.rows for _, span in parts)
        waiting = [(path, span) for path, span in parts if checkpoint.done(span) is None]
        rows = total - sum(span.rows for _, span in waiting)
        print(
            f"{rows:,} of {total:,} rows are done; {len(waiting):,} parts to go", file=sys.stderr, flush=True
        )
        if waiting:
            items = [{"path": str(path), **asdict(span)} for path, span in waiting]
            done = ray.data.from_items(items, override_num_blocks=len(items)).map(
                ScorePart,
                fn_constructor_args=(model, pool.device, pool.threads, options, checkpoint),
                compute=ActorPoolStrategy(min_size=1, max_size=min(pool.actors, len(items))),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
            reported = time.monotonic()
            for part in done.iter_rows():
                rows += part["rows"]
                if time.monotonic() - reported > REPORT_SECONDS:
                    reported = time.monotonic()
                    print(f"{rows:,} of {total:,} rows", file=sys.stderr, flush=True)
        tally = Tally()
        for _, span in parts:
            found = checkpoint.done(span)
            if found is None or found.rows != span.rows:
                raise BulkError(f"{checkpoint.part(span)} is missing; start the job again")
            tally.add(found)
    return tally


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="a file, or a folder of files")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--model", type=Path, default=DEFAULT, help="folder of the bundle, on every node")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--mode", choices=("exact", "fast"), default="exact")
    parser.add_argument("--context", default="")
    parser.add_argument("--per-word", action="store_true")
    parser.add_argument("--prefix", default="", help="stands before the names of the added columns")
    parser.add_argument("--part-rows", type=int, default=50_000, help="rows that are kept at a time")
    parser.add_argument("--actors", type=int, default=4, help="models that run at once, at most")
    parser.add_argument("--cpus", type=float, default=1.0, help="of each actor")
    parser.add_argument("--threads", type=int, default=1, help="of each actor's model")
    parser.add_argument("--gpus", type=float, default=0.0, help="of each actor")
    parser.add_argument("--restart", action="store_true", help="throw away what is done already")
    arguments = parser.parse_args()
    options = JobOptions(
        text_column=arguments.text_column,
        context=arguments.context,
        part_rows=arguments.part_rows,
        columns=Columns(arguments.prefix, arguments.per_word, arguments.mode == "fast"),
    )
    try:
        files = inputs(arguments.input)
        tally = score(files, arguments.output.resolve(), options, arguments.model.resolve(), arguments)
    except BulkError as error:
        sys.exit(f"score_dataset: {error}")
    print(tally, file=sys.stderr)


if __name__ == "__main__":
    main()
