"""How requests wait for their answers on the event loop, without a timer, a task or a wake-up for each.

Answers come from other threads, many at a time: a thread that gives them puts them into the loop's `Inbox`,
and the loop is woken once for all of them. Deadlines are the event loop's own, kept whatever the engine
does: one timer stands at the earliest of them. The connection tells that its client has left
(`service.http.edge.connection.Connection`); where a server has none, what the client sends is watched.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from starlette.types import Receive, Scope

from service.contract.errors import ClientDisconnected, DeadlineExceeded
from service.contract.wakeups import wake
from service.http.edge.connection import CONNECTION_KEY, Connection

WATCH_AFTER_SECONDS = 0.01
"""Without a connection that tells, only what takes longer than this pays for watching the client."""


class Wait:
    """The wait of one request: until all futures are done, one has failed, it is late or its client left."""

    __slots__ = ("deadline", "future", "inbox", "left")

    def __init__(self, inbox: "Inbox", count: int, deadline: float) -> None:
        self.inbox = inbox
        self.left = count
        self.deadline = deadline
        self.future: asyncio.Future[None] = inbox.loop.create_future()

    def answered(self, future: Future[Any]) -> None:
        """Called by the thread that has done one of its futures."""
        error = None if future.cancelled() else future.exception()
        self.inbox.put(self, error)

    def settle(self, error: BaseException | None) -> None:
        """Ends the wait; on the event loop."""
        if not self.future.done():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)

    def leave(self) -> None:
        """The client has left; on the event loop."""
        self.settle(ClientDisconnected())


class Inbox:
    """The answers that came for the waits of one event loop, and the deadlines of these."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock = threading.Lock()
        self._done: list[tuple[Wait, BaseException | None]] = []
        self._waits: set[Wait] = set()
        self._wake_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def put(self, wait: Wait, error: BaseException | None) -> None:
        """Notes that one of a wait's futures is done, by any thread."""
        with self._lock:
            wait.left -= 1
            if wait.left and error is None:
                return
            self._done.append((wait, error))
            first = len(self._done) == 1
        if first:
            wake(self._wake)

    def _wake(self) -> None:
        # A closed loop has no request that waits.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for wait, error in done:
            wait.settle(error)

    def add(self, wait: Wait) -> None:
        """Ends the wait at its deadline, unless it is removed before."""
        self._waits.add(wait)
        if wait.deadline < self._wake_at:
            self._set_timer(wait.deadline)

    def remove(self, wait: Wait) -> None:
        """The wait is over."""
        self._waits.discard(wait)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = deadline
        self._timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), self._end_late)

    def _end_late(self) -> None:
        self._timer, self._wake_at = None, math.inf
        now = time.monotonic()
        for wait in self._waits:
            if wait.deadline <= now:
                wait.settle(DeadlineExceeded())
        # Those that were ended are still there: the requests that await them remove them.
        earliest = min((wait.deadline for wait in self._waits if wait.deadline > now), default=math.inf)
        if earliest < math.inf:
            self._set_timer(earliest)


_local = threading.local()


def inbox() -> Inbox:
    """The running event loop's."""
    loop = asyncio.get_running_loop()
    found: Inbox | None = getattr(_local, "inbox", None)
    if found is None or found.loop is not loop:
        found = _local.inbox = Inbox(loop)
    return found


async def wait_for_all(
    futures: Sequence[Future[Any]], deadline: float, scope: Scope, receive: Receive
) -> None:
    """Returns when all futures are done; raises the first failure, or why the request is given up.

    Raises:
        DeadlineExceeded: `time.monotonic()` passed `deadline`.
        ClientDisconnected: the client has left.
    """
    box = inbox()
    wait = Wait(box, len(futures), deadline)
    connection: Connection | None = scope.get(CONNECTION_KEY)
    watcher = None
    if connection is None:
        watcher = box.loop.create_task(_watch(wait, receive))
    elif connection.lost:
        wait.leave()
    else:
        connection.on_lost.add(wait.leave)
    box.add(wait)
    try:
        for future in futures:
            future.add_done_callback(wait.answered)
        await wait.future
    finally:
        box.remove(wait)
        if watcher is not None:
            watcher.cancel()
        if connection is not None:
            connection.on_lost.discard(wait.leave)


async def _watch(wait: Wait, receive: Receive) -> None:
    await asyncio.sleep(WATCH_AFTER_SECONDS)
    while (await receive())["type"] != "http.disconnect":
        pass
    wait.leave()
