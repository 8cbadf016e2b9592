"""The server goes away under the page, and comes back."""

from typing import TYPE_CHECKING

import pytest

from tests.playground.browser import Watch
from tests.playground.stub import Fault, Stub

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_predictions_come_back_by_themselves(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("net::ERR_",)  # the browser logs every refused connection
    stub.stop()
    page.get_by_label("Your text").press_sequentially("Thank ")
    banner = page.locator("#banner")
    expect(banner).to_have_text("The server is not reachable, retrying…")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.get_by_label("Your text").press_sequentially("you very ")
    expect(banner).to_have_text("The server is not reachable, retrying…")
    stub.start()
    expect(page.locator("#words [role=option]").first).to_contain_text("much")
    expect(banner).to_be_empty()


def test_a_server_that_is_not_ready_is_waited_for(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("503 (Service",)
    stub.fault = Fault(503, "The model is not ready: warming up.")
    page.get_by_label("Your text").press_sequentially("Thank ")
    expect(page.locator("#banner")).to_have_text("The model is not ready: warming up. Retrying…")
    stub.fault = None
    expect(page.locator("#words [role=option]").first).to_contain_text("you")
    expect(page.locator("#banner")).to_be_empty()


def test_an_interrupted_scoring_goes_on(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("net::ERR_",)
    page.get_by_role("tab", name="Score").click()
    page.get_by_label("Sentences, one a line").fill("Thank you.")
    stub.stop()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#banner")).to_have_text("The server is not reachable, retrying…")
    stub.start()
    expect(page.locator(".sentence")).to_have_count(1)
    expect(page.locator("#banner")).to_be_empty()
