"""Debian's Chromium, driven by Playwright; without one of them these tests are skipped, with the reason."""

import shutil
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from tests.playground.browser import FLAGS, TIMEOUT_MS, Watch
from tests.playground.stub import Stub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


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
