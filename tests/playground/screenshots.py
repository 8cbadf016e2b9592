"""Takes the playground's pictures for the README from a running server.

headfirst serve &
python -m tests.playground.screenshots http://127.0.0.1:8080/ docs/images
"""

import argparse
import shutil
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.playground.browser import FLAGS

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
SIZES: dict[str, ViewportSize] = {
    "": {"width": 1000, "height": 1010},
    "-phone": {"width": 360, "height": 740},
}
TEXT = "The cat sat on ", "the "
"""Typed in two steps: the second finds the state of the first. Some clusters are opened, most are not."""
SENTENCES = """Thank you very much for your help.
Thank you very mud for your help.
The old man the boat.
She poured the coffee into the zorblat."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="the server's address, with the final slash")
    parser.add_argument("directory", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or parser.error("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for theme, suffix in product(THEMES, SIZES):
            take(browser, arguments.url, arguments.directory, theme, suffix)
        browser.close()


def take(browser: Browser, url: str, directory: Path, theme: Theme, suffix: str) -> None:
    """Both tabs in one theme and one size."""
    context = browser.new_context(viewport=SIZES[suffix], color_scheme=theme, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(url)
    page.locator("#words [role=option]").first.wait_for()
    predict(page)
    page.screenshot(path=directory / f"playground-predict-{theme}{suffix}.png")
    score(page)
    page.screenshot(path=directory / f"playground-score-{theme}{suffix}.png")
    context.close()


def predict(page: Page) -> None:
    """Shows the words after `TEXT`, the second one chosen."""
    page.get_by_label("Your text").focus()
    for part in TEXT:
        with page.expect_response("**/v1/predict"):
            page.keyboard.insert_text(part)
        page.locator("#words:not([data-stale])").wait_for()
    page.keyboard.press("ArrowDown")


def score(page: Page) -> None:
    """Shows `SENTENCES`, scored."""
    page.get_by_role("tab", name="Score").click()
    page.get_by_label("Sentences, one a line").fill(SENTENCES)
    page.keyboard.press("Control+Enter")
    page.locator(".sentence").first.wait_for()
    # A phone shows either the form or the results; these are what the picture is for.
    top = "0" if page.viewport_size == SIZES[""] else "document.getElementById('results').offsetTop - 16"
    page.evaluate(f"scrollTo(0, {top})")


if __name__ == "__main__":
    main()
