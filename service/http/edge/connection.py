"""What our HTTP protocol tells a request beside ASGI, in its scope, and what it does for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

CONNECTION_KEY = "headfirst.connection"
"""Where a scope has its `Connection`."""

COMPLETE_KEY = "headfirst.complete"
"""Is in a scope as soon as the whole request is there: mostly before the app has begun with it."""


@dataclass(eq=False, slots=True)
class Connection:
    """What a request may know of the connection that it came by.

    Args:
        cork: to be called before the head of an answer is sent: it leaves together with the body's beginning.
    """

    cork: Callable[[], None]
    lost: bool = False
    """Whether the client has closed it."""
    on_lost: set[Callable[[], None]] = field(default_factory=set)
    """Called when the client closes it."""

    def lose(self) -> None:
        """The client has closed it."""
        self.lost = True
        for callback in tuple(self.on_lost):
            callback()
