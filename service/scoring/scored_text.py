"""A scored text: its tokens and their log-probabilities, and every answer that is made of them."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final, Literal

from models.text.vocabulary import Token
from service.contract.answers import line_result, score_result, scored_group, scored_word
from service.contract.numbers import DIGITS, perplexity
from service.scoring.sentences import is_end
from service.scoring.unknown_words import UnknownWords

Group = Literal["token", "space"]
"""What has an entry of its own: a token, or a word between white space."""

Regions = Sequence[tuple[int, int]]
"""Places of a text, each start and end in code points."""

_SPACED: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A text's scored tokens, ``</s>`` among them if asked for, and a log-probability each.

    Natural logarithms, rounded to six digits: their sum is the sum that a reader of the answer gets.

    Args:
        text: as it was sent.
        error: the most by which one of the log-probabilities may be off.
        lines: of each line, the number of tokens up to its end; None where lines were not asked for.
    """

    text: str
    tokens: Sequence[Token]
    logprobs: Sequence[float]
    unknown_id: int
    error: float = 0.0
    lines: Sequence[int] | None = None

    @classmethod
    def of(
        cls,
        text: str,
        sentences: Sequence[Sequence[Token]],
        logprobs: Sequence[Sequence[float]],
        unknown: UnknownWords,
        error: float = 0.0,
        lines: bool = False,
    ) -> ScoredText:
        """The text whose `sentences` have these `logprobs`, unknown words having that of their class."""
        tokens = [token for sentence in sentences for token in sentence]
        values = unknown.logprobs(tokens, [value for sentence in logprobs for value in sentence])
        return cls(
            text,
            tokens,
            [round(value, DIGITS) for value in values],
            unknown.id,
            error,
            list(accumulate(map(len, sentences))) if lines else None,
        )

    @property
    def logprob(self) -> float:
        """Log-probability of the whole text; NaN where nothing was scored."""
        return self._sum(range(len(self.tokens)))

    @property
    def unknown_words(self) -> int:
        """How many of the tokens the vocabulary lacks."""
        return self._unknown(range(len(self.tokens)))

    @property
    def ends(self) -> int:
        """How many of the tokens are ends of sentences."""
        return sum(map(is_end, self.tokens))

    @property
    def perplexity(self) -> float:
        """exp(-logprob / words); infinite where it exceeds a double, NaN where nothing was scored."""
        return perplexity(self.logprob, len(self.tokens))

    def result(
        self, per_word: bool = True, group: Group = "token", regions: Regions | None = None
    ) -> dict[str, Any]:
        """The result as ``/v1/score`` answers it: a `ScoreResult`."""
        return self.summary(list(self.entries(group, regions)) if per_word else None)

    def summary(self, words: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
        """The result with these `entries`; None leaves their field out."""
        return score_result(
            logprob=self.logprob,
            known_logprob=self._sum([place for place in range(len(self.tokens)) if self._known(place)]),
            word_count=len(self.tokens),
            unknown_words=self.unknown_words,
            error=self.error,
            lines=self._lines(),
            words=words,
        )

    def entries(self, group: Group = "token", regions: Regions | None = None) -> Iterator[dict[str, Any]]:
        """A `ScoredWord` for each token, each word between white space, or each of `regions`."""
        if regions is not None:
            return self._of_regions(regions)
        return map(self._token, range(len(self.tokens))) if group == "token" else self._of_spaced()

    def _token(self, place: int) -> dict[str, Any]:
        token, known = self.tokens[place], self._known(place)
        return scored_word(token.surface, token.start, token.end, self.logprobs[place], known, token.word)

    def _of_spaced(self) -> Iterator[dict[str, Any]]:
        spans = [match.span() for match in _SPACED.finditer(self.text)]
        at, count = 0, len(self.tokens)
        for (start, end), (following, _) in pairwise([*spans, (len(self.text) + 1, 0)]):
            while at < count and is_end(self.tokens[at]):
                yield self._end(at)
                at += 1
            first = at
            while at < count and not is_end(self.tokens[at]) and self.tokens[at].start < following:
                at += 1
            if at > first:
                yield self._group(start, end, range(first, at))
        yield from map(self._end, range(at, count))

    def _of_regions(self, regions: Regions) -> Iterator[dict[str, Any]]:
        places = [place for place, token in enumerate(self.tokens) if not is_end(token)]
        starts = [self.tokens[place].start for place in places]
        for start, end in regions:
            yield self._group(start, end, places[bisect_left(starts, start) : bisect_left(starts, end)])

    def _group(self, start: int, end: int, places: Sequence[int]) -> dict[str, Any]:
        logprob = self._sum(places) if places else 0.0
        return scored_group(self.text[start:end], start, end, logprob, len(places), self._unknown(places))

    def _end(self, place: int) -> dict[str, Any]:
        token = self.tokens[place]
        return scored_group(token.surface, token.start, token.end, self.logprobs[place], 1, 0)

    def _lines(self) -> list[dict[str, Any]] | None:
        if self.lines is None:
            return None
        spans = [range(first, last) for first, last in pairwise([0, *self.lines])]
        return [line_result(self._sum(span), len(span), self._unknown(span)) for span in spans]

    def _known(self, place: int) -> bool:
        return self.tokens[place].id != self.unknown_id

    def _unknown(self, places: Sequence[int]) -> int:
        return sum(not self._known(place) for place in places)

    def _sum(self, places: Sequence[int]) -> float:
        if not places:
            return math.nan
        return round(math.fsum([self.logprobs[place] for place in places]), DIGITS)
