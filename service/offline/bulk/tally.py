"""The totals of one part of a bulk job, and of all parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from service.offline.bulk.source import RowFault
from service.offline.totals import Totals
from service.scoring.scored_text import ScoredText


@dataclass
class Tally(Totals):
    """Totals of rows, some of which may have no score.

    `faults` counts the rows without a score by the reason; `first_fault` is the first of them, from 1.
    """

    faults: dict[str, int] = field(default_factory=dict)
    first_fault: int | None = None

    @classmethod
    def of(cls, first: int, texts: Sequence[str | RowFault], results: Sequence[ScoredText | None]) -> Tally:
        """Of rows whose first one is number `first`, from 0."""
        faulty = [(row, text) for row, text in enumerate(texts, first + 1) if isinstance(text, RowFault)]
        tally = cls(
            faults=dict(Counter(str(fault) for _, fault in faulty)),
            first_fault=faulty[0][0] if faulty else None,
        )
        tally.count([result for result in results if result is not None])
        tally.rows = len(results)
        return tally

    def add(self, other: Tally) -> None:
        """Counts the rows of another part."""
        self.rows += other.rows
        self.blank += other.blank
        self.words += other.words
        self.ends += other.ends
        self.unknown += other.unknown
        self.logprob += other.logprob
        self.error = max(self.error, other.error)
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        known = [number for number in (self.first_fault, other.first_fault) if number is not None]
        self.first_fault = min(known, default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `Tally(**...)` reads it."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.rows:,} rows, {self.words:,} words"
        if self.words:
            text += f", perplexity {self.perplexity:,.2f}, {self.unknown:,} unknown"
        if self.error:
            text += f", logprobs within {self.error:.2g}"
        if self.faults:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.faults.items()))
            text += f"; {sum(self.faults.values()):,} rows have no score ({reasons}; the first is row"
            text += f" {self.first_fault:,})"
        return text
