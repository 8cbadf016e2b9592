"""What our HTTP protocol tells a request beside ASGI, in its scope, and what it does for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

CONNECTION_KEY = "headfirst.connection"
"""Where a scope has its `Connection`."""

UNFRAMED_KEY = "headfirst.unframed"
"""Is in the scope of an HTTP/1.0 request, which knows no chunks: what to call before each piece of an answer
of unknown length, with its bytes' number. The answer ends with the connection (RFC 9112, 6.3)."""

COMPLETE_KEY = "headfirst.complete"
"""Is in a scope as soon as the whole request is there: mostly before the app has begun with it."""


@dataclass(eq=False, slots=True)
class Connection:
    """What a request may know of the connection that it came by.

    Args:
        cork: to be called before the head of an answer is sent: it leaves together with the body's beginning.
        give_up: to be called when an answer is late: ends the connection if its client does not read.
    """

    cork: Callable[[], None]
    give_up: Callable[[], None]
    lost: bool = False
    """Whether it is gone: reset, or ended by the server. A client that ends its own sending still reads."""
    on_lost: set[Callable[[], None]] = field(default_factory=set)
    """Called when it is gone."""

    def lose(self) -> None:
        """It is gone."""
        self.lost = True
        callbacks, self.on_lost = self.on_lost, set()
        for callback in callbacks:
            callback()
