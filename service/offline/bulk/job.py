"""A bulk job: how rows are scored, and how one part of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from models.bundle import CONTENT, Bundle, digest
from service.contract.errors import InvalidRequest
from service.offline.bulk.checkpoint import Checkpoint
from service.offline.bulk.source import BulkError, Columns, RowFault, Source, Span
from service.offline.bulk.tally import Tally
from service.offline.scorer import BATCH_TOKENS, Scorer
from service.scoring.scored_text import ScoredText
from service.scoring.unknown_words import Unknown

VERSION: Final = 2
PART_ROWS: Final = 10_000
WINDOW_CHARS: Final = 1 << 18
WINDOW_ROWS: Final = 4096
"""Texts of a part that are tokenized at once, at most."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How rows are scored. All of it changes the output, so all of it identifies the job of a checkpoint."""

    text_column: str
    context: str = ""
    end_of_sentence: bool = True
    pretokenized: bool = False
    batch_tokens: int = BATCH_TOKENS
    part_rows: int = PART_ROWS
    unknown: Unknown | None = None
    unknown_penalty: float | None = None
    lines: bool = False
    ignore_case: bool = False
    columns: Columns = field(default_factory=Columns)

    def scorer(self, bundle: Bundle) -> Scorer:
        """Raises BulkError: the context is not valid Unicode, or an option does not fit."""
        try:
            return Scorer(
                bundle,
                self.context,
                self.end_of_sentence,
                self.batch_tokens,
                self.columns.fast,
                self.pretokenized,
                self.unknown,
                self.unknown_penalty,
                self.lines,
                self.ignore_case,
            )
        except InvalidRequest as error:
            raise BulkError(error.message) from None
        except ValueError as error:
            raise BulkError(f"--context is {error}") from None

    def identity(self, inputs: Sequence[Path], model: Path) -> dict[str, Any]:
        """What identifies the job: its options, the files as they are now, the model's content.

        Raises:
            BulkError: a file cannot be read.
        """
        try:
            files = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in inputs]
            content = digest(*(model / name for name in CONTENT))
        except OSError as error:
            raise BulkError(f"{error.filename}: {error.strerror or error}") from None
        return {"version": VERSION, "input": files, "model": content, **asdict(self)}


def score_span(
    source: Source,
    span: Span,
    scorer: Scorer,
    columns: Columns,
    checkpoint: Checkpoint,
    on_share: Callable[[float], None] = lambda share: None,
) -> Tally:
    """Scores the rows of a span and keeps them; `on_share` is called with each share of them that is done.

    Raises:
        BulkError: the rows cannot be read, or already have a column of an added name.
    """
    part = source.read(span)
    texts = [
        text if isinstance(text, RowFault) or _is_unicode(text) else RowFault.NOT_UNICODE
        for text in part.texts
    ]
    results: list[ScoredText | None] = [None] * len(texts)
    for window in _windows(texts):
        scored = scorer.score([texts[row] for row in window])
        for row, result in zip(window, scored, strict=True):
            if result.tokens:
                results[row] = result
            else:
                texts[row] = RowFault.EMPTY
        on_share(len(window) / len(texts))
    tally = Tally.of(span.first, texts, results)
    checkpoint.commit(span, tally, lambda path: part.write(path, results, columns))
    return tally


def _windows(texts: Sequence[str | RowFault]) -> Iterator[list[int]]:
    """The rows that have a text, in order, a bounded number of characters at a time."""
    window, chars = list[int](), 0
    for row, text in enumerate(texts):
        if isinstance(text, RowFault):
            continue
        window.append(row)
        chars += len(text)
        if chars >= WINDOW_CHARS or len(window) >= WINDOW_ROWS:
            yield window
            window, chars = [], 0
    if window:
        yield window


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
