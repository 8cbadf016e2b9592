"""The engine's threads while they have nothing to do, and which of them is woken."""

import threading


class Sleepers:
    """Threads that sleep until there is work. Used under the batcher's lock; `sleep` gives it up meanwhile.

    The thread that fell asleep last is woken first: its core has the model's weights still at hand. While a
    thread has told that it will be back at once, none is woken.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._sleeping: list[threading.Condition] = []
        self._returning: set[int] = set()

    def __len__(self) -> int:
        return len(self._sleeping)

    def sleep(self) -> None:
        """Blocks the calling thread until it is woken."""
        sleeper = threading.Condition(self._lock)
        self._sleeping.append(sleeper)
        sleeper.wait()

    def wake(self) -> None:
        """Wakes one thread, if any sleeps and none is about to come by itself."""
        if self._sleeping and not self._returning:
            self._sleeping.pop().notify()

    def wake_all(self) -> None:
        """Wakes all threads."""
        while self._sleeping:
            self._sleeping.pop().notify()

    def returning(self) -> None:
        """The calling thread will be back soon."""
        self._returning.add(threading.get_ident())

    def back(self) -> None:
        """The calling thread is back."""
        self._returning.discard(threading.get_ident())
