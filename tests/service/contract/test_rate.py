"""What `Retry-After` says: work that is left over the rate of the work that was done."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.rate import FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, MEMORY_SECONDS, Rate


def test_before_any_work_it_is_a_guess() -> None:
    rate = Rate()
    assert rate.retry_after(1e9) == FIRST_RETRY_SECONDS
    rate.add(0, 5)
    assert rate.retry_after(1e9) == FIRST_RETRY_SECONDS


@given(st.floats(0.01, 1000), st.lists(st.floats(0.001, 20), min_size=1, max_size=50), st.floats(0, 100_000))
def test_at_a_steady_rate_it_is_exact(rate: float, seconds: list[float], left: float) -> None:
    measured = Rate()
    for each in seconds:
        measured.add(rate * each, each)
    assert measured.retry_after(left) == pytest.approx(min(MAX_RETRY_SECONDS, left / rate))


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0.001, 20)), min_size=1, max_size=50))
def test_each_piece_of_work_weighs_less_the_more_time_has_passed(work: list[tuple[float, float]]) -> None:
    """Against the weighted sums that the recursion stands for."""
    measured = Rate()
    for amount, seconds in work:
        measured.add(amount, seconds)
    passed = [sum(seconds for _, seconds in work[index + 1 :]) for index in range(len(work))]
    weights = [math.exp(-since / MEMORY_SECONDS) for since in passed]
    amount = math.fsum(weight * amount for weight, (amount, _) in zip(weights, work, strict=True))
    seconds = math.fsum(weight * seconds for weight, (_, seconds) in zip(weights, work, strict=True))
    expected = min(MAX_RETRY_SECONDS, 7 * seconds / amount) if amount else FIRST_RETRY_SECONDS
    assert measured.retry_after(7) == pytest.approx(expected)


def test_it_has_a_limit() -> None:
    rate = Rate()
    rate.add(1, 10_000)
    assert rate.retry_after(5) == MAX_RETRY_SECONDS
