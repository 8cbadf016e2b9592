"""The page with `headfirst serve` itself and a tiny model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.playground.browser import Watch
from tests.support.server_process import ServerProcess
from tests.support.tiny import tiny_bundle

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def url(tab: "Page", tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # `tab` comes first, so that a machine without a browser starts no server.
    server = ServerProcess("--model", str(tiny_bundle(tmp_path_factory.mktemp("bundle"))))
    server.wait_ready()
    yield server.url
    server.kill()


def ask(url: str, path: str, **body: object) -> dict[str, Any]:
    result: dict[str, Any] = (
        httpx.post(url + path, json=body, timeout=30).raise_for_status().json()["results"][0]
    )
    return result


def test_both_tabs(tab: "Page", url: str, watch: Watch) -> None:
    with watch.over(tab, url):
        tab.goto(url)
        options = tab.locator("#words").get_by_role("option")
        expect(options).to_have_count(10)
        expect(tab.locator("#model")).to_contain_text("tiny · LSTM · 280 words")
        expect(tab.locator("#strip-caption")).to_contain_text("Opened for this prediction:")

        text = tab.get_by_label("Your text")
        text.press_sequentially("Thank you very m")
        best = ask(url, "/v1/predict", inputs="Thank you very ", prefix="m")["words"][0]["word"]
        expect(options.first.locator(".word")).to_have_text(best)
        tab.keyboard.press("Tab")
        expect(text).to_have_value(f"Thank you very {best} ")
        expect(tab.locator("#timing [data-item=batch]")).to_have_text("Batch1")

        tab.get_by_role("tab", name="Score").click()
        tab.get_by_label("Sentences, one a line").fill("Thank you very zorblat.")
        tab.keyboard.press("Control+Enter")
        expected = ask(url, "/v1/score", inputs="Thank you very zorblat.")
        expect(tab.locator(".chip")).to_have_count(expected["word_count"])
        expect(tab.locator(".chip.unknown .surface")).to_have_text("zorblat")
        expect(tab.locator(".sentence dl")).to_contain_text(f"\N{MINUS SIGN}{-expected['logprob']:.2f}")
    watch.check()
