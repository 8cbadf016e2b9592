"""The choice of a model, where the server has several."""

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.playground.browser import Watch
from tests.playground.stub import Fault, Stub

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

PREDICT, SCORE = "/v1/predict", "/v1/score"


def test_one_model_leaves_nothing_to_choose(page: "Page") -> None:
    expect(page.locator("#model")).to_contain_text("stub")
    expect(page.get_by_label("Model")).to_be_hidden()


def test_requests_name_the_chosen_model(page: "Page", stub: Stub) -> None:
    stub.models = ["english", "chinese"]
    page.reload()
    choice = page.get_by_label("Model")
    expect(choice).to_have_value("english")
    expect(choice.locator("option")).to_have_text(["english", "chinese"])
    expect(page.locator("#model")).to_contain_text("english · LSTM")

    choice.select_option("chinese")
    expect(page.locator("#model")).to_contain_text("chinese · LSTM")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_count(10)
    page.get_by_label("Your text").fill("Thank ")
    expect(page.get_by_role("listbox").get_by_role("option").first).to_have_accessible_name("you 74.1%")
    assert stub.bodies(PREDICT)[-1]["model"] == "chinese"

    page.get_by_role("tab", name="Score").click()
    page.get_by_label("Sentences, one a line").fill("Yes.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip")).to_have_count(3)
    assert stub.bodies(SCORE)[-1]["model"] == "chinese"


def test_a_phone_has_room_for_the_choice(page: "Page", stub: Stub) -> None:
    stub.models = ["english", "a-model-with-quite-a-long-name"]
    page.set_viewport_size({"width": 360, "height": 740})
    page.reload()
    choice = page.get_by_label("Model")
    expect(choice).to_be_visible()
    choice.select_option(stub.models[1])
    expect(page.locator("#model")).to_contain_text(f"{stub.models[1]} · LSTM")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    brand, chosen = page.locator(".brand").bounding_box(), choice.bounding_box()
    assert brand is not None
    assert chosen is not None
    # In one row, beside each other.
    assert abs(brand["y"] + brand["height"] / 2 - chosen["y"] - chosen["height"] / 2) < 4
    assert brand["x"] + brand["width"] <= chosen["x"]


@pytest.mark.parametrize("width", [360, 600, 720])
def test_the_header_fits_in_a_wide_font(page: "Page", stub: Stub, width: int) -> None:
    stub.models = ["english", "a-model-with-quite-a-long-name"]
    page.set_viewport_size({"width": width, "height": 740})
    page.reload()
    expect(page.get_by_label("Model")).to_be_visible()
    page.evaluate(
        "for (const part of document.querySelectorAll('.bar *')) part.style.letterSpacing = '0.08em'"
    )
    right = page.evaluate(
        "Math.max(...Array.from(document.querySelectorAll('.bar *'),"
        " part => part.getBoundingClientRect().right))"
    )
    assert right <= width
    boxes = [page.locator(f".bar {part}").bounding_box() for part in (".brand", "#models", ".key", "#theme")]
    for left, following in itertools.pairwise(boxes):
        assert left is not None
        assert following is not None
        assert left["x"] + left["width"] <= following["x"]


def test_the_choice_stays_while_its_model_is_served(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("503",)
    stub.models = ["english", "chinese"]
    page.reload()
    choice = page.get_by_label("Model")
    choice.select_option("chinese")
    expect(page.locator("#model")).to_contain_text("chinese")
    # The server restarts, first with both models, then with the other alone.
    for models, expected in ((["chinese", "english"], "chinese"), (["english"], "english")):
        stub.fault = Fault(503, "The model is not ready.")
        page.get_by_label("Your text").fill(f"{expected} ")
        expect(page.get_by_role("status").first).to_contain_text("Retrying")
        stub.models, stub.fault = models, None
        expect(page.locator("#model")).to_contain_text(f"{expected} · LSTM")
        expect(page.get_by_role("status").first).to_be_empty()
    expect(choice).to_be_hidden()
