"""Which requests run, and which of them began before a moment."""

import asyncio

import pytest

from service.http.edge.admission import Admission

pytestmark = pytest.mark.anyio


async def turns() -> None:
    """Lets whoever can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_earlier_requests_are_waited_for_and_later_ones_not() -> None:
    admission = Admission(10)
    await admission.wait_earlier()
    first, second = admission.enter(), admission.enter()
    waiting = asyncio.create_task(admission.wait_earlier())
    await turns()
    later = admission.enter()
    admission.leave(first)
    await turns()
    assert not waiting.done()
    admission.leave(second)
    await waiting
    assert admission.in_flight == 1
    admission.leave(later)
    await admission.wait_idle()


async def test_each_wait_is_for_its_own_moment() -> None:
    admission = Admission(10)
    first = admission.enter()
    one = asyncio.create_task(admission.wait_earlier())
    await turns()
    second = admission.enter()
    other = asyncio.create_task(admission.wait_earlier())
    await turns()
    admission.leave(second)
    await turns()
    assert not one.done()
    assert not other.done()  # The first request is earlier than both.
    admission.leave(first)
    await asyncio.gather(one, other)


async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    admission = Admission(10)
    first = admission.enter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await admission.wait_earlier()
    admission.leave(first)
    await admission.wait_earlier()


async def test_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.http.edge.admission.time.monotonic", lambda: now)
    admission = Admission(10)
    assert admission.retry_after() == 1
    epochs = [admission.enter() for _ in range(10)]
    assert admission.retry_after() == 1  # None is answered yet.
    for _ in range(4):
        now += 0.5
        admission.leave(epochs.pop())
    assert admission.retry_after() == pytest.approx(6 * 0.5)
    now += 100
    assert admission.retry_after() == 60
    while epochs:
        admission.leave(epochs.pop())
    admission.enter()  # What was before the pause tells nothing.
    assert admission.retry_after() == 1
