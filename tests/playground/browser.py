"""How the browser is started, and what a page must not do in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Error, Page, Request

TIMEOUT_MS = 15_000  # a busy machine of CI

FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--in-process-gpu",  # one process less, which one core feels
]


class Watch:
    """What a page must not do: ask other hosts than `origin`, and log errors.

    A test that makes the server fail puts into `expected` the errors that the browser then logs by itself.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.expected: tuple[str, ...] = ()
        self.foreign: list[str] = []
        self.logged: list[str] = []

    @contextmanager
    def over(self, page: "Page", origin: str) -> Iterator[None]:
        """Watches `page`, which may ask `origin` only."""
        self.origin = origin
        page.on("request", self.on_request)
        page.on("console", self.on_console)
        page.on("pageerror", self.on_error)
        yield
        page.remove_listener("request", self.on_request)
        page.remove_listener("console", self.on_console)
        page.remove_listener("pageerror", self.on_error)

    def on_request(self, request: "Request") -> None:
        if not request.url.startswith((self.origin, f"blob:{self.origin}")):
            self.foreign.append(request.url)

    def on_console(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.logged.append(message.text)

    def on_error(self, error: "Error") -> None:
        self.logged.append(str(error))

    def check(self) -> None:
        """Fails on anything that was not expected."""
        assert self.foreign == []
        assert [text for text in self.logged if not any(part in text for part in self.expected)] == []
