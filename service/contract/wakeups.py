"""Waking event loops once for many answers, when all of them are given.

A loop that is woken by the first of a batch's answers takes the interpreter from the thread that has the
others still to give, and both wait for each other again and again.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator


class _Pending(threading.local):
    calls: dict[Callable[[], None], None] | None = None


_pending = _Pending()


def wake(call: Callable[[], None]) -> None:
    """Calls `call`, which wakes a loop: at once, or once for all equal calls at the end of `together`."""
    if _pending.calls is None:
        call()
    else:
        _pending.calls[call] = None


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Holds back what this thread passes to `wake` until the end of the block. Not to be nested."""
    calls: dict[Callable[[], None], None] = {}
    _pending.calls = calls
    try:
        yield
    finally:
        _pending.calls = None
        for call in calls:
            call()
