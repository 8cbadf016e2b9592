"""Totals of texts: of parts that are added as of the whole."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.vocabulary import Token
from service.offline.bulk.source import RowFault
from service.offline.bulk.tally import Tally
from service.offline.totals import Totals
from service.scoring.scored_text import ScoredText

UNKNOWN, END = 0, 3

WORDS = st.lists(st.tuples(st.integers(0, 3), st.floats(-20, 0)), max_size=5)
ROWS = st.lists(WORDS | st.sampled_from(RowFault), max_size=8)


def scored(words: list[tuple[int, float]]) -> ScoredText:
    """A text of these ids and log-probabilities: ids from `END` on are ends of sentences."""
    tokens = [Token(word, str(word), at, at + (word < END), str(word)) for at, (word, _) in enumerate(words)]
    return ScoredText(
        "x" * len(words), tokens, [round(value, 6) for _, value in words], UNKNOWN, len(words) / 64
    )


def tally(rows: list[list[tuple[int, float]] | RowFault], first: int = 0) -> Tally:
    return Tally.of(
        first,
        [row if isinstance(row, RowFault) else "text" for row in rows],
        [None if isinstance(row, RowFault) else scored(row) for row in rows],
    )


@given(st.lists(WORDS, max_size=8))
def test_totals_are_the_sums(texts: list[list[tuple[int, float]]]) -> None:
    totals = Totals()
    totals.count([scored(words) for words in texts])
    words = [word for text in texts for word in text]
    blank = [text for text in texts if all(word >= END for word, _ in text)]
    assert (totals.rows, totals.blank, totals.words) == (len(texts), len(blank), len(words))
    assert totals.ends == sum(word >= END for word, _ in words)
    assert totals.unknown == sum(word == UNKNOWN for word, _ in words)
    assert totals.logprob == pytest.approx(math.fsum(value for _, value in words), abs=1e-4)
    assert totals.error == max(map(len, texts), default=0) / 64
    assert math.isnan(totals.perplexity) == (not words)


@given(ROWS, st.data())
def test_parts_add_up_to_the_whole(
    rows: list[list[tuple[int, float]] | RowFault], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    whole, parts = tally(rows), tally(rows[:cut])
    parts.add(tally(rows[cut:], cut))
    assert parts.logprob == pytest.approx(whole.logprob, abs=1e-9)
    parts.logprob = whole.logprob
    assert parts == whole
    faulty = [number for number, row in enumerate(rows, 1) if isinstance(row, RowFault)]
    assert whole.first_fault == min(faulty, default=None)
    assert sum(whole.faults.values()) == len(faulty)
    assert Tally(**json.loads(json.dumps(whole.as_dict()))) == whole
