"""A model that fails fails the guilty alone; what does not fit is split."""

import logging
from collections.abc import Callable

import pytest
import torch

from models.bundle import Bundle
from service.contract.errors import (
    InferenceFailed,
)
from service.contract.messages import Message
from service.engine.runner import is_out_of_memory
from tests.support.spy import (
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
    start = [5, 6, 7, 8, 9, 10]
    messages = [
        score([*start, 2, 3]),
        score([*start, POISON, *range(20, 40), 5]),
        score([*start, POISON, *range(20, 40), 6]),
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
def test_out_of_memory_is_split(
    make: Make, bundle: Bundle, kind: Callable[[list[int]], Message], caplog: pytest.LogCaptureFixture
) -> None:
    watched = make()

    def before(rows: list[list[int]]) -> None:
        if sum(map(len, rows)) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    watched.spy.before = before
    messages = [kind([i, *range(2, 2 + i)]) for i in range(30)] + [kind([40] * 50)]
    for message, answer in zip(messages, watched.ask(*messages), strict=True):
        check(bundle, message, answer)
    assert watched.sample("inference_failures_total") == 0
    assert any("batches now have at most" in line for line in caplog.messages)
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
