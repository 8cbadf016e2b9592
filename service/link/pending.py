"""Futures of what an HTTP worker has asked the engine process, until the frame comes that answers them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from service.contract.errors import HeadfirstError
from service.contract.messages import Answer


class Pending:
    """Each question has a number, and a message its index within it. May be used by any thread.

    No future is resolved under the lock, nor one that was cancelled.

    Args:
        lock: reentrant: a callback of one future may cancel another, on the same thread.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._number = 0
        self._messages: dict[int, dict[int, Future[Answer]]] = {}
        # Questions to the engine process and not to an engine: samples and reloads.
        self._others: dict[int, Future[Any]] = {}

    @property
    def messages(self) -> bool:
        """Whether a message waits for its answer."""
        return bool(self._messages)

    def add_messages(self, futures: Sequence[Future[Answer]]) -> int:
        """The number under which these wait."""
        with self._lock:
            self._number += 1
            self._messages[self._number] = dict(enumerate(futures))
            return self._number

    def add(self, future: Future[Any]) -> int:
        """The number under which this one waits."""
        with self._lock:
            self._number += 1
            self._others[self._number] = future
            return self._number

    def take(self, number: int, index: int) -> Future[Answer] | None:
        """The message's future to resolve; None if it was cancelled. After this call it no longer can be."""
        with self._lock:
            future = self._pop(number, index)
        return future if future is not None and future.set_running_or_notify_cancel() else None

    def drop(self, number: int, index: int) -> bool:
        """Forgets a message; False if it was answered or is forgotten already."""
        with self._lock:
            return self._pop(number, index) is not None

    def answer(self, number: int, answer: object) -> None:
        """Resolves a question for samples or a reload."""
        with self._lock:
            future = self._others.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(answer)

    def refuse(self, number: int, make_error: Callable[[], HeadfirstError]) -> None:
        """Fails all that waits under this number."""
        with self._lock:
            futures: list[Future[Any]] = [*self._messages.pop(number, {}).values()]
            futures += [self._others.pop(number)] if number in self._others else []
        _fail(futures, make_error)

    def abandon(self, make_error: Callable[[], HeadfirstError]) -> None:
        """Fails all that waits."""
        with self._lock:
            futures: list[Future[Any]] = [one for group in self._messages.values() for one in group.values()]
            futures += self._others.values()
            self._messages.clear()
            self._others.clear()
        _fail(futures, make_error)

    def _pop(self, number: int, index: int) -> Future[Answer] | None:
        group = self._messages.get(number)
        future = group.pop(index, None) if group is not None else None
        if group is not None and not group:
            del self._messages[number]
        return future


def _fail(futures: Sequence[Future[Any]], make_error: Callable[[], HeadfirstError]) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(make_error())
