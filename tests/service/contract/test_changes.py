"""Changes reach those who wait for them, from any thread; none is missed and none comes too late."""

import asyncio
import threading

import pytest

from service.contract.changes import Changes

pytestmark = pytest.mark.anyio


class Light:
    """Something with a state."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.color = "red"
        self.looks = 0

    def turn(self, color: str) -> None:
        self.color = color
        self.changes.announce()

    def is_green(self) -> bool:
        self.looks += 1
        return self.color == "green"


async def test_until_returns_at_once_if_the_condition_holds() -> None:
    light = Light()
    light.turn("green")
    async with asyncio.timeout(20):
        await light.changes.until(light.is_green)
    assert light.looks == 1


async def test_until_looks_again_only_after_an_announcement() -> None:
    light = Light()
    waiting = asyncio.create_task(light.changes.until(light.is_green))
    await asyncio.sleep(0.05)
    assert light.looks == 1
    await asyncio.to_thread(light.turn, "yellow")
    await asyncio.sleep(0.05)
    assert (light.looks, waiting.done()) == (2, False)
    await asyncio.to_thread(light.turn, "green")
    async with asyncio.timeout(20):
        await waiting


async def test_the_condition_is_checked_by_the_waiting_thread() -> None:
    light = Light()
    checking: set[int] = set()

    def is_green() -> bool:
        checking.add(threading.get_ident())
        return light.color == "green"

    waiting = asyncio.create_task(light.changes.until(is_green))
    await asyncio.to_thread(light.turn, "green")
    async with asyncio.timeout(20):
        await waiting
    assert checking == {threading.get_ident()}


async def test_no_change_is_missed_among_many() -> None:
    """A thread announces as fast as it can, while the loop waits for each number in its turn."""
    changes, seen, number = Changes(), 0, 0

    def count() -> None:
        nonlocal number
        for _ in range(2000):
            number += 1
            changes.announce()

    counting = asyncio.create_task(asyncio.to_thread(count))
    async with asyncio.timeout(60):
        while seen < 2000:
            await changes.until(lambda: number > seen)  # noqa: B023 -- awaited here
            seen = number
        await counting


async def test_a_cancelled_wait_ends_its_subscription() -> None:
    light = Light()
    waiting = asyncio.create_task(light.changes.until(light.is_green))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    light.turn("green")
    await asyncio.sleep(0)
    assert light.looks == 1


def test_an_announcement_after_the_loop_is_closed() -> None:
    light = Light()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await light.changes.until(light.is_green)

    asyncio.run(give_up())
    light.turn("green")  # Would raise in the announcing thread, were the loop still told.


def test_subscribers_are_called_inside_the_block_alone() -> None:
    changes, calls = Changes(), []
    with changes.subscribed(lambda: calls.append("one")):
        changes.announce()
        with changes.subscribed(lambda: calls.append("two")):
            changes.announce()
        changes.announce()
    changes.announce()
    assert calls == ["one", "one", "two", "one"]


def test_what_is_forwarded_is_announced_there_too() -> None:
    inner, outer, calls = Changes(), Changes(), []
    inner.forward(outer)
    with outer.subscribed(lambda: calls.append(1)):
        inner.announce()
    assert calls == [1]
