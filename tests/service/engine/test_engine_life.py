"""How an engine begins and ends: no future is left without an answer."""

import threading
from typing import NoReturn

import pytest

from models.bundle import Bundle
from service.contract.errors import (
    DeadlineExceeded,
    Draining,
    NotReady,
)
from service.engine.batcher import Batcher
from tests.support.spy import (
    BLOCKER,
    WAIT_SECONDS,
    Make,
    Watched,
    check,
    error_of,
    predict,
    score,
    submit,
)


def broken(rows: list[list[int]]) -> NoReturn:
    raise RuntimeError("the device is gone")


def test_a_broken_device_is_no_input_s_fault(make: Make) -> None:
    watched = make()
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5]))
        watched.spy.before = broken
    assert {type(error_of(future)) for future in futures} == {NotReady}
    assert watched.engine.state == "dead"
    assert watched.engine.reason == "the engine died of RuntimeError"
    assert watched.sample("engine_ready") == 0
    with pytest.raises(NotReady, match="died of RuntimeError"):
        submit(watched, predict([4]))
    assert not watched.engine.drain(0)
    watched.engine.stop()
    assert watched.engine.reason == "the engine died of RuntimeError"


@pytest.mark.parametrize("method", ["next", "finish", "overdue"])
def test_a_fault_of_the_batcher_leaves_no_future_unresolved(
    make: Make, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    watched = make()
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5]))
        monkeypatch.setattr(Batcher, method, lambda *_: broken([]))
        futures += submit(watched, predict([6], deadline=0.0))
    errors = {type(error_of(future)) for future in futures}
    assert errors <= {NotReady, DeadlineExceeded, *([type(None)] if method == "overdue" else [])}
    watched.wait_until("dead")
    assert watched.engine.reason == "the engine died of RuntimeError"


def test_a_callback_that_ends_the_thread_leaves_no_future_unresolved(make: Make) -> None:
    watched = make()

    def leave(_: object) -> NoReturn:
        raise SystemExit

    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), predict([5]), predict([6]))
        futures[0].add_done_callback(leave)
    errors = [type(error_of(future)) for future in futures]
    assert errors == [type(None), NotReady, NotReady]
    assert watched.engine.reason == "the engine died of SystemExit"


def test_a_model_that_fails_in_the_warm_up_is_never_ready(bundle: Bundle) -> None:
    watched = Watched(bundle)
    watched.spy.before = broken
    watched.engine.start()
    watched.wait_until("dead")
    assert "RuntimeError" in watched.engine.reason
    watched.engine.stop()


def test_each_change_of_state_is_announced_after_it(bundle: Bundle) -> None:
    watched = Watched(bundle)
    states: list[str] = []
    with watched.engine.changes.subscribed(lambda: states.append(watched.engine.state)):
        watched.start()
        check(bundle, predict([4]), watched.ask(predict([4]))[0])  # Once it is announced, it accepts.
        assert watched.engine.drain(WAIT_SECONDS)
        watched.engine.stop()
    assert states == ["ready", "draining", "dead"]


def test_a_death_is_announced_when_no_future_waits_any_more(make: Make) -> None:
    watched = make()
    done: list[bool] = []
    announced = threading.Event()

    def note() -> None:
        done.append(all(future.done() for future in futures))
        announced.set()

    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5]))
        with watched.engine.changes.subscribed(note):
            watched.engine.fail("it hangs")
            assert announced.wait(WAIT_SECONDS)
    assert done[0]
    assert [type(error_of(future)) for future in futures] == [NotReady] * 2


def test_nothing_is_accepted_before_the_warm_up_is_done(bundle: Bundle) -> None:
    watched = Watched(bundle)
    assert watched.engine.state == "starting"
    with pytest.raises(NotReady, match="warming up"):
        submit(watched, predict([4]))
    assert watched.sample("engine_ready") == 0
    watched.engine.stop()
    assert watched.engine.reason == "the engine was stopped"


def test_draining_during_the_warm_up(bundle: Bundle) -> None:
    watched = Watched(bundle)
    watched.spy.open.clear()
    watched.engine.start()
    assert watched.spy.waits.wait(WAIT_SECONDS)
    assert watched.engine.drain(0)
    watched.spy.open.set()
    watched.engine.stop()
    assert watched.engine.reason == "the engine was stopped"


def test_drain_finishes_what_was_accepted(make: Make) -> None:
    watched = make()
    drained: list[bool] = []
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5] * 500))
        thread = threading.Thread(target=lambda: drained.append(watched.engine.drain(WAIT_SECONDS)))
        thread.start()
        watched.wait_until("draining")
        assert watched.engine.reason == "the server is shutting down"
        with pytest.raises(Draining):
            submit(watched, predict([6]))
    thread.join(WAIT_SECONDS)
    assert drained == [True]
    assert all(future.done() and error_of(future) is None for future in futures)


def test_what_a_drain_has_no_time_for_is_told_so(make: Make) -> None:
    watched = make()
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5]))
        assert not watched.engine.drain(0)
        assert [type(error_of(future)) for future in futures] == [Draining] * 2


def test_stop_answers_what_waits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.engine.JOIN_SECONDS", 0)
    watched = make()
    with watched.spy.closed(watched.engine, BLOCKER):
        (future,) = submit(watched, predict([4]))
        watched.engine.stop()
        assert isinstance(error_of(future), NotReady)
        with pytest.raises(NotReady, match="was stopped"):
            submit(watched, predict([4]))


def test_two_engines_do_not_know_of_each_other(make: Make, bundle: Bundle) -> None:
    first, second = make(), make()
    first.engine.stop()
    message = predict([4, 5])
    check(bundle, message, second.ask(message)[0])
