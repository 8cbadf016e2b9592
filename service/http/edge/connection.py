"""What our HTTP protocol tells a request beside ASGI, in its scope, and what it does for it."""

from collections.abc import Callable

CONNECTION_KEY = "headfirst.connection"
"""Where a scope has its `Connection`."""

COMPLETE_KEY = "headfirst.complete"
"""Is in a scope as soon as the whole request is there: mostly before the app has begun with it."""


class Connection:
    """What a request may know of the connection that it came by.

    Attributes:
        lost: whether the client has closed it.
        cork: to be called before the head of an answer is sent: it leaves together with the body's beginning.
    """

    def __init__(self, cork: Callable[[], None]) -> None:
        self.lost = False
        self.cork = cork
        self._callbacks: set[Callable[[], None]] = set()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Calls back when the connection is lost; at once if it was."""
        if self.lost:
            callback()
        else:
            self._callbacks.add(callback)

    def forget(self, callback: Callable[[], None]) -> None:
        """Calls back no more."""
        self._callbacks.discard(callback)

    def lose(self) -> None:
        """It is lost."""
        self.lost = True
        for callback in tuple(self._callbacks):
            callback()
