"""What fails, comes too late, is cancelled or too much; and how an engine ends."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
import torch

from models.bundle import Bundle
from service.batcher import Batcher
from service.engine import Engine
from service.errors import (
    DeadlineExceeded,
    Draining,
    HeadfirstError,
    InferenceFailed,
    NotReady,
    QueueFull,
    TooLarge,
)
from service.messages import Message
from service.runner import is_out_of_memory
from tests.service.spy import WAIT_SECONDS, Make, Watched, check, predict, running_engines, score

POISON = 279
BLOCKER = predict([3])
"""Runs while others wait."""


@pytest.fixture
def make(bundle: Bundle) -> Iterator[Make]:
    yield from running_engines(bundle)


def poisoned(rows: list[list[int]]) -> None:
    if any(POISON in row for row in rows):
        raise ValueError("poison")


def submit(watched: Watched, *messages: Message) -> list[Any]:
    return watched.engine.submit(messages)


def error_of(future: Any) -> BaseException | None:
    error: BaseException | None = future.exception(WAIT_SECONDS)
    return error


# -- the queue ----------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_the_whole_call(make: Make) -> None:
    watched = make(max_queue_requests=4, max_inputs=4)
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), predict([5]))
        with pytest.raises(QueueFull) as full:
            submit(watched, predict([6]), predict([7]))
        assert full.value.retry_after is not None
        futures += submit(watched, predict([8]), score([4]), score([5]))
        assert watched.sample("queue_depth") == 5
    assert [error_of(future) for future in futures] == [None] * 5
    assert watched.sample("queue_depth") == 0


def test_what_never_fits_is_refused(make: Make) -> None:
    with pytest.raises(TooLarge):
        submit(make(max_queue_tokens=10), score(range(11)))


def test_the_overdue_are_answered_while_a_batch_is_run_and_never_computed(make: Make) -> None:
    watched = make()
    deadline = 0.0  # long ago
    with watched.spy.closed(watched.engine, BLOCKER):
        late = submit(watched, predict([4], deadline=deadline), score([4, 5], deadline=deadline))
        assert [type(error_of(future)) for future in late] == [DeadlineExceeded] * 2
        assert watched.sample("queue_depth") == 0
    watched.ask(predict([6]))
    assert watched.spy.steps == [[[3]], [[6]]]
    assert watched.sample("rejected_total", reason="expired") == 2


def test_the_cancelled_are_never_computed(make: Make) -> None:
    watched = make()
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), predict([5]))
        assert futures[0].cancel()
        assert watched.sample("queue_depth") == 1
    assert error_of(futures[1]) is None
    assert watched.spy.steps == [[[3]], [[5]]]
    assert watched.sample("rejected_total", reason="cancelled") == 1


def test_a_long_text_that_is_cancelled_is_not_run_to_its_end(make: Make) -> None:
    watched = make()
    watched.spy.open.clear()
    (future,) = submit(watched, score([5] * 10_000))
    assert watched.spy.waits.wait(WAIT_SECONDS)
    assert future.cancel()
    watched.spy.open.set()
    watched.ask(predict([6]))
    assert watched.spy.tokens <= 64 + 1
    assert watched.sample("queue_tokens") == 0


def test_a_prediction_overtakes_a_long_text(make: Make) -> None:
    watched = make()
    watched.spy.open.clear()
    (text,) = submit(watched, score([5] * 5_000))
    assert watched.spy.waits.wait(WAIT_SECONDS)
    (keystroke,) = submit(watched, predict([6]))
    watched.spy.open.set()
    assert error_of(keystroke) is None
    assert error_of(text) is None
    assert watched.spy.steps[1] == [[6]]


# -- a model that fails -------------------------------------------------------------------------------------


def test_only_the_guilty_fail(make: Make, bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    watched = make()
    watched.spy.before = poisoned
    messages: list[Message] = [predict([i, i + 1]) for i in range(20)]
    messages[3:3] = [predict([5, POISON])]
    messages[17:17] = [predict([POISON])]
    messages += [score([i, i + 1]) for i in range(20)]
    messages += [score([7, POISON, 7])]
    with caplog.at_level(logging.CRITICAL):  # The tracebacks are wanted, not here.
        futures = submit(watched, *messages)
        for message, future in zip(messages, futures, strict=True):
            guilty = POISON in (message.tokens if hasattr(message, "tokens") else message.targets)
            if guilty:
                assert isinstance(error_of(future), InferenceFailed)
            else:
                check(bundle, message, future.result(WAIT_SECONDS))
    assert watched.engine.state == "ready"
    assert watched.sample("inference_failures_total") == 3


def test_a_poisoned_part_of_a_tree_fails_those_below_it(make: Make, bundle: Bundle) -> None:
    watched = make()
    watched.spy.before = poisoned
    start = [5, 6, 7, 8, 9]
    messages = [
        score([*start, 2, 3]),
        score([*start, POISON, 1, 2, 3, 4, 5]),
        score([*start, POISON, 1, 2, 3, 4, 6]),
        score([*start, 4]),
    ]
    futures = submit(watched, *messages)
    assert [type(error_of(future)) for future in futures] == [
        type(None),
        InferenceFailed,
        InferenceFailed,
        type(None),
    ]
    for i in (0, 3):
        check(bundle, messages[i], futures[i].result())
    assert watched.sample("inference_failures_total") == 2


def test_a_failure_is_logged_with_its_request_and_without_its_text(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    watched = make()
    watched.spy.before = poisoned
    assert isinstance(error_of(submit(watched, predict([POISON]))[0]), InferenceFailed)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.__dict__["fields"] == {"id": "p", "inputs": 1}
    assert record.exc_info is not None


@pytest.mark.parametrize("kind", [predict, score])
def test_out_of_memory_is_split(make: Make, bundle: Bundle, kind: Callable[[list[int]], Message]) -> None:
    watched = make()

    def before(rows: list[list[int]]) -> None:
        if sum(map(len, rows)) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    watched.spy.before = before
    messages = [kind([i, *range(2, 2 + i)]) for i in range(30)] + [kind([40] * 50)]
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle, message, answer)
    assert watched.sample("inference_failures_total") == 0
    assert watched.engine._batcher._predict.budget < 4096
    assert watched.sample("out_of_memory_total") >= 2


def test_one_token_that_does_not_fit_is_guilty(make: Make) -> None:
    watched = make()

    def before(rows: list[list[int]]) -> None:
        if rows != [[1]]:  # the start word
            raise MemoryError

    watched.spy.before = before
    assert isinstance(error_of(submit(watched, predict([4] * 9))[0]), InferenceFailed)
    assert watched.engine.state == "ready"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_memory_is_given_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = make()
    watched.ask(predict([4]))
    assert watched.sample("state_cache_bytes") > 0
    given_back: list[bool] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: given_back.append(True))
    errors: list[Exception] = [torch.OutOfMemoryError("x")]

    def before(rows: list[list[int]]) -> None:
        while errors:
            raise errors.pop()

    watched.spy.before = before
    watched.ask(predict([4, 5]))
    watched.spy.forget()
    watched.ask(predict([4]))
    assert given_back == [True]
    assert watched.sample("out_of_memory_total") == 1
    assert watched.spy.steps == [[[4]]]  # Its state was given back, too.


# -- how it ends --------------------------------------------------------------------------------------------


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
        monkeypatch.setattr(watched.engine._batcher, method, lambda *_: broken([]))
        futures += submit(watched, predict([6], deadline=0.0))
    errors = {type(error_of(future)) for future in futures}
    assert errors <= {NotReady, DeadlineExceeded, *([type(None)] if method == "overdue" else [])}
    for thread in watched.engine._threads:
        thread.join(WAIT_SECONDS)
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
    watched.engine._threads[0].join(WAIT_SECONDS)
    assert watched.engine.state == "dead"
    assert "RuntimeError" in watched.engine.reason
    watched.engine.stop()


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
    closed = threading.Event()
    close = watched.engine._batcher.close

    def close_and_tell(refuse: Callable[[], HeadfirstError]) -> None:
        close(refuse)
        closed.set()

    watched.engine._batcher.close = close_and_tell  # type: ignore[method-assign]
    with watched.spy.closed(watched.engine, BLOCKER):
        futures = submit(watched, predict([4]), score([5] * 500))
        thread = threading.Thread(target=lambda: drained.append(watched.engine.drain(WAIT_SECONDS)))
        thread.start()
        assert closed.wait(WAIT_SECONDS)
        assert watched.engine.state == "draining"
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
    monkeypatch.setattr("service.engine.JOIN_SECONDS", 0)
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
    assert isinstance(first.engine, Engine)
    assert isinstance(first.engine._batcher, Batcher)
