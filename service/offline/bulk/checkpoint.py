"""The finished parts of a job, in a folder: each is there whole or not at all, whenever a run is killed.

    _job.json           which job it is; any other job is refused here
    part-000017.jsonl   rows with their scores
    _part-000017.json   the totals of those rows; written before the part

Programs that read a folder as one data set skip names that begin with ``_``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from service.offline.bulk.source import BulkError, Span
from service.offline.bulk.tally import Tally

JOB: Final = "_job.json"
_UNFINISHED: Final = ".unfinished"


class Checkpoint:
    """Keeps a job's parts.

    Args:
        folder: made by `open`.
        suffix: of the parts' names.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self._suffix = folder, suffix
        self._finished = folder.with_name(f"{folder.name}-finished")

    @contextmanager
    def open(self, job: dict[str, Any], restart: bool = False) -> Iterator[None]:
        """Makes the folder, or continues in it, and locks other runs out while this context lasts.

        `restart` deletes the parts that are there.

        Raises:
            BulkError: the folder belongs to another job, or another run has locked it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / JOB
        with path.open("a+", encoding="utf-8") as file:
            self._lock(file)
            if restart:
                file.truncate(0)
            file.seek(0)
            known = _load(file.read())
            if known is None:  # new, or killed while this was written
                self._clear()
                file.truncate(0)
                json.dump(job, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
                _sync(self.folder)
            elif known != json.loads(json.dumps(job)):
                changed = [name for name in job if known.get(name) != job[name]]
                raise BulkError(
                    f"{self.folder} keeps parts of another job ({', '.join(changed) or 'of another version'}"
                    " differs): give --restart to begin anew"
                )
            for left in self.folder.glob(f"*{_UNFINISHED}"):
                left.unlink()
            yield

    def finish(self) -> None:
        """Removes the folder, at one stroke; to be called when the output is complete."""
        self.folder.rename(self._finished)
        _sync(self.folder.parent)
        shutil.rmtree(self._finished)

    def was_finished(self) -> bool:
        """Whether a run was killed inside `finish`; removes what it left."""
        if not self._finished.exists():
            return False
        shutil.rmtree(self._finished)
        return True

    def _clear(self) -> None:
        for left in [*self.folder.glob("part-*"), *self.folder.glob("_part-*")]:
            left.unlink()

    def _lock(self, file: IO[str]) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, in any way
        except BlockingIOError:
            raise BulkError(f"{self.folder}: another run is at work here") from None

    def part(self, span: Span) -> Path:
        """The path of the part that has the rows of a span."""
        return self.folder / f"part-{span.number:06}{self._suffix}"

    def _tally(self, span: Span) -> Path:
        return self.folder / f"_part-{span.number:06}.json"

    def done(self, span: Span) -> Tally | None:
        """The totals of a finished part; None if the part is not finished."""
        if not self.part(span).exists():
            return None
        return Tally(**json.loads(self._tally(span).read_text("utf-8")))

    def commit(self, span: Span, tally: Tally, write: Callable[[Path], None]) -> None:
        """Keeps a part: `write` writes it to the path that it is given. A second call changes nothing."""
        tally_path = self._tally(span)
        replace(tally_path, lambda path: _write_text(path, json.dumps(tally.as_dict())))
        replace(self.part(span), write)


def replace(path: Path, write: Callable[[Path], None], folder: Path | None = None) -> None:
    """Has `write` write a file in `folder`, or beside `path`; moves it to `path` when it is on the disk."""
    unfinished = (folder or path.parent) / f"{path.name}.{os.getpid()}{_UNFINISHED}"
    try:
        write(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _sync(folder: Path) -> None:
    """Puts the names of a folder's files on the disk, on systems that can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
