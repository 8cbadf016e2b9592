"""Which requests run, and which of them began before a moment."""

import asyncio

import pytest

from service.http.edge.lifecycle import Lifecycle

pytestmark = pytest.mark.anyio


async def turns() -> None:
    """Lets whoever can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_earlier_requests_are_waited_for_and_later_ones_not() -> None:
    lifecycle = Lifecycle(10)
    await lifecycle.wait_earlier()
    first, second = lifecycle.enter(), lifecycle.enter()
    waiting = asyncio.create_task(lifecycle.wait_earlier())
    await turns()
    later = lifecycle.enter()
    lifecycle.leave(first)
    await turns()
    assert not waiting.done()
    lifecycle.leave(second)
    await waiting
    assert lifecycle.in_flight == 1
    lifecycle.leave(later)
    await lifecycle.wait_idle()


async def test_each_wait_is_for_its_own_moment() -> None:
    lifecycle = Lifecycle(10)
    first = lifecycle.enter()
    one = asyncio.create_task(lifecycle.wait_earlier())
    await turns()
    second = lifecycle.enter()
    other = asyncio.create_task(lifecycle.wait_earlier())
    await turns()
    lifecycle.leave(second)
    await turns()
    assert not one.done()
    assert not other.done()  # The first request is earlier than both.
    lifecycle.leave(first)
    await asyncio.gather(one, other)


async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    lifecycle = Lifecycle(10)
    first = lifecycle.enter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await lifecycle.wait_earlier()
    lifecycle.leave(first)
    await lifecycle.wait_earlier()


async def test_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.http.edge.lifecycle.time.monotonic", lambda: now)
    lifecycle = Lifecycle(10)
    assert lifecycle.retry_after() == 1
    epochs = [lifecycle.enter() for _ in range(10)]
    assert lifecycle.retry_after() == 1  # None is answered yet.
    for _ in range(4):
        now += 0.5
        lifecycle.leave(epochs.pop())
    assert lifecycle.retry_after() == pytest.approx(6 * 0.5)
    now += 100
    assert lifecycle.retry_after() == 60
    while epochs:
        lifecycle.leave(epochs.pop())
    lifecycle.enter()  # What was before the pause tells nothing.
    assert lifecycle.retry_after() == 1
