"""Totals of scored texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.contract import numbers
from service.scoring.scored_text import ScoredText


@dataclass
class Totals:
    """Sums over texts.

    Attributes:
        rows: texts; in a data set also the rows without one.
        blank: texts without words.
        words: scored words, the ends of sentences among them.
        ends: those ends of sentences.
        unknown: words that the vocabulary lacks.
        logprob: of all words, in nats.
        error: the most by which one of the log-probabilities may be off.
    """

    rows: int = 0
    blank: int = 0
    words: int = 0
    ends: int = 0
    unknown: int = 0
    logprob: float = 0.0
    error: float = 0.0

    def count(self, texts: Sequence[ScoredText]) -> None:
        """Counts texts that were just scored."""
        self.rows += len(texts)
        self.blank += sum(len(text.tokens) == text.ends for text in texts)
        self.words += sum(len(text.tokens) for text in texts)
        self.ends += sum(text.ends for text in texts)
        self.unknown += sum(text.unknown_words for text in texts)
        self.logprob += math.fsum(text.logprob for text in texts if text.tokens)
        self.error = max(self.error, *(text.error for text in texts), 0.0)

    @property
    def perplexity(self) -> float:
        """exp(-logprob / words); infinite where it exceeds a double, NaN for no words."""
        return numbers.perplexity(self.logprob, self.words)
