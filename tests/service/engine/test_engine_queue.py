"""Who is refused, who comes too late, who goes away: none of them is computed."""

import contextlib
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from models.bundle import Bundle
from service.contract.errors import (
    DeadlineExceeded,
    QueueFull,
    TooLarge,
)
from service.contract.messages import Message
from tests.support.spy import (
    BLOCKER,
    POISON,
    WAIT_SECONDS,
    Make,
    check,
    error_of,
    poisoned,
    predict,
    score,
    submit,
)


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


def test_whatever_many_clients_do_every_future_is_resolved(make: Make, bundle: Bundle) -> None:
    watched = make(max_queue_requests=40, max_inputs=40, score_step_tokens=50)
    watched.spy.before = poisoned
    ends: list[tuple[Message, Any]] = []

    def client(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(30):
            deadline = time.monotonic() + dice.choice([0.0, 0.002, 60.0, 60.0])
            messages: list[Message] = []
            for _ in range(dice.randint(1, 8)):
                text = dice.choices(range(2, POISON + 1), k=dice.choice([1, 5, 90]))
                messages += [score(text, deadline=deadline)] if dice.random() < 0.5 else []
                messages += [predict(text, deadline=deadline)]
            with contextlib.suppress(QueueFull):
                futures = submit(watched, *messages)
                if dice.random() < 0.2:
                    dice.choice(futures).cancel()
                ends.extend(zip(messages, futures, strict=True))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    kinds: Counter[str] = Counter()
    for i, (message, future) in enumerate(ends):
        if future.cancelled():
            kinds["cancelled"] += 1
        elif (error := error_of(future)) is None:
            kinds["answered"] += 1
            if i % 10 == 0:
                check(bundle, message, future.result())
        else:
            kinds[type(error).__name__] += 1
    assert kinds.keys() <= {"answered", "cancelled", "DeadlineExceeded", "InferenceFailed"}
    assert kinds["answered"] > 0
    assert watched.engine.drain(WAIT_SECONDS)
    assert watched.sample("queue_depth") == watched.sample("queue_tokens") == 0
    assert watched.sample("inference_failures_total") >= kinds["InferenceFailed"]
    rejected = [watched.sample("rejected_total", reason=reason) for reason in ("expired", "cancelled")]
    assert sum(rejected) <= kinds["DeadlineExceeded"] + kinds["cancelled"]
    assert rejected[0] >= kinds["DeadlineExceeded"]  # More where a cancel came too late as well.
