"""When a client asks again."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.retries import Retries, seconds


@given(attempt=st.integers(1, 40), first=st.floats(0.001, 10), seed=st.integers())
def test_waits_double_and_are_shortened_by_at_most_a_half(attempt: int, first: float, seed: int) -> None:
    retries = Retries(attempts=41, first_wait=first, longest_wait=20, rng=random.Random(seed))
    whole = min(20.0, first * 2.0 ** (attempt - 1))
    wait = retries.wait(attempt)
    assert wait is not None
    assert whole / 2 <= wait <= whole


def test_the_last_attempt_is_the_last() -> None:
    retries = Retries(attempts=3)
    assert [retries.wait(n, "1") for n in (1, 2, 3)] == [1.0, 1.0, None]


def test_a_server_that_asks_for_too_much_is_not_waited_for() -> None:
    assert Retries(longest_wait=10).wait(1, "11") is None


def test_a_header_that_says_nothing_is_no_header() -> None:
    wait = Retries(first_wait=1).wait(1, "soon")
    assert wait is not None
    assert 0.5 <= wait <= 1


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    found = seconds(format_datetime(later, usegmt=True))
    assert found is not None
    assert 95 < found <= 100
    assert seconds(format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True)) == 0


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="attempts must be at least 1, got 0"):
        Retries(attempts=0)
