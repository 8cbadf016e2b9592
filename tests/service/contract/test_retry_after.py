"""`Retry-After`: work that is left over the rate of the work that was done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.retry_after import FIRST_SECONDS, MAX_SECONDS, retry_after


def test_before_any_work_it_is_a_guess() -> None:
    assert retry_after(1e9, done=0, seconds=5) == FIRST_SECONDS


@given(st.floats(0, 1e6), st.floats(0.1, 1e6), st.floats(0.001, 1e4))
def test_at_a_steady_rate_it_is_the_time_that_the_rest_takes(
    left: float, rate: float, seconds: float
) -> None:
    expected = min(MAX_SECONDS, left / rate)
    assert retry_after(left, rate * seconds, seconds) == pytest.approx(expected)
