"""Debian's Chromium, driven by Playwright; without one of them these tests are skipped, with the reason."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from tests.playground.stub import Stub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request

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


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    # Package scope: while Playwright runs, so does an event loop in this thread, and asyncio.run fails.
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


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


@pytest.fixture(scope="package")
def server() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of the test's own: what the page of an earlier test asks late does not reach it."""
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="package")
def tab(browser: "Browser") -> "Iterator[Page]":
    # One tab for all tests: a process for each would take most of their time. Without motion, no click waits
    # for an animation's end.
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    import_module("playwright.sync_api").expect.set_options(timeout=TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: "Page", stub: Stub, watch: Watch) -> "Iterator[Page]":
    """A page that shows the playground of the stub, its first words there."""
    with watch.over(tab, stub.url):
        tab.set_viewport_size({"width": 1000, "height": 900})
        tab.goto(stub.url)
        tab.locator("#words [role=option]").first.wait_for()
        yield tab
        tab.evaluate("localStorage.clear(); sessionStorage.clear()")
    tab.goto("about:blank")  # Nobody asks the stub any more, which ends now.
    watch.check()
