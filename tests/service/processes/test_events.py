"""Signals, files and scheduled actions, one after the other on one thread."""

import os
import sched
import selectors
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from service.processes.events import cancel_all, handle_next, signals_as_bytes


@pytest.fixture
def selector() -> Iterator[selectors.DefaultSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def file(selector: selectors.DefaultSelector) -> Iterator[tuple[socket.socket, list[str]]]:
    """What is sent here is read when its turn comes, into the list."""
    read: list[str] = []
    one, other = socket.socketpair()
    with one, other:
        selector.register(one, selectors.EVENT_READ, lambda: read.append(one.recv(9).decode()))
        yield other, read


@pytest.fixture
def schedule() -> sched.scheduler:
    return sched.scheduler(time.monotonic)


def test_it_blocks_until_the_next_action_is_due(
    selector: selectors.DefaultSelector, schedule: sched.scheduler
) -> None:
    calls: list[str] = []
    started = time.monotonic()
    schedule.enter(3600, 0, calls.append, ("late",))
    schedule.enter(0.05, 0, calls.append, ("soon",))
    while not calls:
        handle_next(selector, schedule)
    assert calls == ["soon"]
    assert time.monotonic() - started >= 0.05
    assert len(schedule.queue) == 1


Sent = tuple[socket.socket, list[str]]


def test_a_file_comes_before_an_action_that_is_due(
    selector: selectors.DefaultSelector, schedule: sched.scheduler, file: Sent
) -> None:
    other, calls = file
    other.send(b"file")
    schedule.enter(0, 0, calls.append, ("action",))
    handle_next(selector, schedule)
    assert calls == ["file", "action"]


def test_a_file_wakes_it_long_before_the_next_action(
    selector: selectors.DefaultSelector, schedule: sched.scheduler, file: Sent
) -> None:
    other, calls = file
    schedule.enter(3600, 0, calls.append, ("late",))
    other.send(b"file")
    handle_next(selector, schedule)
    assert calls == ["file"]


def test_an_action_may_schedule_the_next(
    selector: selectors.DefaultSelector, schedule: sched.scheduler
) -> None:
    calls: list[int] = []

    def act() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            schedule.enter(0.001, 0, act)

    schedule.enter(0, 0, act)
    while len(calls) < 3:
        handle_next(selector, schedule)
    assert not schedule.queue


def test_what_is_cancelled_is_never_done(schedule: sched.scheduler) -> None:
    for seconds in (0, 0, 9):
        schedule.enter(seconds, 0, pytest.fail)
    cancel_all(schedule)
    assert schedule.run(blocking=False) is None


def test_a_signal_is_a_byte_and_its_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with signals_as_bytes([signal.SIGUSR1]) as wakeup:
        os.kill(os.getpid(), signal.SIGUSR1)
        wakeup.setblocking(True)
        wakeup.settimeout(20)
        assert wakeup.recv(9) == bytes([signal.SIGUSR1])
    assert signal.getsignal(signal.SIGUSR1) == before
