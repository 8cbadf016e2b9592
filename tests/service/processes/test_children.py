"""Waiting longer after each quick failure, and giving up."""

from service.processes.children import FIRST_SECONDS, MAX_QUICK_FAILURES, STEADY_SECONDS, Backoff


def test_backoff() -> None:
    backoff = Backoff()
    delays = [backoff.next(0) for _ in range(MAX_QUICK_FAILURES)]
    assert delays[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert delays[-1] is None
    assert None not in delays[:-1]
    backoff = Backoff()
    assert [backoff.next(STEADY_SECONDS) for _ in range(20)] == [FIRST_SECONDS] * 20
