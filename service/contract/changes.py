"""Announced changes of state: a thread or a coroutine that waits for one is told, and need not poll."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator


class Changes:
    """The changes of one object: its owner announces each of them, others subscribe or wait.

    An announcement says only that something is different now; what it is, the subscriber reads from the
    object. Any thread may announce and subscribe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[], object]] = []

    def announce(self) -> None:
        """Calls all subscribers, on the calling thread."""
        with self._lock:
            for call in self._subscribers:
                call()

    @contextlib.contextmanager
    def subscribed(self, call: Callable[[], object]) -> Iterator[None]:
        """Calls `call` at each announcement inside the block, and never after its end.

        `call` must return at once, and may neither subscribe here nor announce.
        """
        with self._lock:
            self._subscribers.append(call)
        try:
            yield
        finally:
            with self._lock:
                self._subscribers.remove(call)

    def forward(self, other: "Changes") -> None:
        """Announces to `other`, from now on, all that is announced here."""
        with self._lock:
            self._subscribers.append(other.announce)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition` holds, which the calling thread checks now and after each announcement."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        # Nothing is announced after the block: the loop may be closed by then.
        with self.subscribed(lambda: loop.call_soon_threadsafe(changed.set)):
            while not condition():
                await changed.wait()
                changed.clear()
