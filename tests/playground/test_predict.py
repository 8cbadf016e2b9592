"""The "Predict" tab in a real browser."""

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.browser import Watch
from tests.playground.stub import Fault, Stub

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

PREDICT = "/v1/predict"


def options(page: "Page") -> Any:
    return page.get_by_role("listbox").get_by_role("option")


def field(page: "Page") -> Any:
    return page.get_by_label("Your text")


def write(page: "Page", text: str) -> None:
    field(page).focus()
    page.keyboard.type(text)


def test_an_empty_text_shows_first_words_and_the_model(page: "Page", stub: Stub) -> None:
    expect(options(page)).to_have_count(10)
    expect(options(page).first).to_have_accessible_name("The 74.1%")
    expect(page.locator("#model")).to_have_text(
        "stub · LSTM · 80,000 words · 12.3 M parameters · float32 · cpu"
    )
    assert stub.bodies(PREDICT)[0] == {"inputs": "", "k": 10}


def test_typing_asks_once_when_it_pauses(page: "Page", stub: Stub) -> None:
    # All within one turn of the page's event loop: on a busy machine, keys that are pressed one by one from
    # here come with pauses between them.
    type_fast = "(field, text) => [...text].forEach(key => document.execCommand('insertText', false, key))"
    before = len(stub.bodies(PREDICT))
    field(page).focus()
    field(page).evaluate(type_fast, "Thank you very ")
    expect(field(page)).to_have_value("Thank you very ")
    expect(options(page).first).to_have_accessible_name("much 74.1%")
    assert stub.bodies(PREDICT)[before:] == [{"inputs": "Thank you very ", "k": 10}]


def test_a_page_is_one_session(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very ")
    expect(options(page).first).to_have_accessible_name("much 74.1%")
    first = set(stub.sessions)
    page.reload()
    expect(options(page)).to_have_count(10)
    assert len(first) == 1
    assert len(set(stub.sessions)) == 2
    assert None not in stub.sessions


def test_tab_accepts_the_best_word_and_asks_again(page: "Page") -> None:
    write(page, "Thank you very ")
    expect(options(page).first).to_contain_text("much")
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value("Thank you very much ")
    expect(field(page)).to_be_focused()
    expect(options(page).first).to_have_accessible_name(". 74.1%")
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value("Thank you very much. ")


def test_tab_before_the_answer_waits_for_it(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very ")
    expect(options(page).first).to_contain_text("much")
    stub.hold = threading.Event()
    write(page, "m")
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value("Thank you very m")
    stub.hold.set()
    expect(field(page)).to_have_value("Thank you very much ")


def test_a_click_accepts_and_keeps_the_focus(page: "Page") -> None:
    write(page, "Thank you very ")
    field(page).evaluate("field => field.addEventListener('blur', () => (field.dataset.left = 'yes'))")
    options(page).filter(has_text="important").click()
    expect(field(page)).to_have_value("Thank you very important ")
    expect(field(page)).to_be_focused()
    # Not even for a moment: a phone would take its keyboard away and bring it back.
    expect(field(page)).not_to_have_attribute("data-left", "yes")
    page.keyboard.press("Control+z")
    expect(field(page)).to_have_value("Thank you very ")


def test_a_partial_word_is_the_prefix(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very mu")
    expect(options(page)).to_have_text([r"much74.1%", "mulch30.1%", "muscle12.2%", "mutual4.98%"])
    assert stub.bodies(PREDICT)[-1] == {"inputs": "Thank you very ", "k": 10, "prefix": "mu"}
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options(page).nth(1)).to_have_attribute("aria-selected", "true")
    expect(field(page)).to_have_attribute("aria-activedescendant", "word-1")
    page.keyboard.press("Enter")
    expect(field(page)).to_have_value("Thank you very mulch ")


def test_all_since_the_last_space_is_completed(page: "Page", stub: Stub) -> None:
    write(page, 'Thank you "very-mu')
    expect(options(page).first).to_have_text('"very-mulch74.1%')
    expect(options(page).first.locator(".typed")).to_have_text('"very-mu')
    assert stub.bodies(PREDICT)[-1] == {"inputs": "Thank you ", "k": 10, "prefix": '"very-mu'}
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value('Thank you "very-mulch ')


def test_marks_are_switched_off(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very much ")
    expect(options(page).first).to_have_text(".74.1%")
    page.get_by_role("switch", name="Words only").check()
    expect(options(page).first).to_have_text("of74.1%")
    assert stub.bodies(PREDICT)[-1] == {"inputs": "Thank you very much ", "k": 10, "words_only": True}


def test_a_prefix_in_any_case(page: "Page", stub: Stub) -> None:
    page.get_by_role("switch", name="Any case").check()
    write(page, "thank")
    expect(options(page).first).to_have_text("Thank74.1%")
    assert stub.bodies(PREDICT)[-1] == {"inputs": "", "k": 10, "prefix": "thank", "ignore_case": True}
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value("Thank ")
    expect(options(page).first).to_contain_text("you")
    assert stub.bodies(PREDICT)[-1] == {"inputs": "Thank ", "k": 10}


def test_a_prefix_without_words_says_so(page: "Page") -> None:
    write(page, "xyz")
    expect(page.locator("#none")).to_have_text("No word of the vocabulary starts with “xyz”.")
    expect(field(page)).to_have_attribute("aria-expanded", "false")


def test_escape_closes_and_frees_tab(page: "Page") -> None:
    write(page, "Thank ")
    expect(options(page).first).to_contain_text("you")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.keyboard.press("Tab")
    expect(field(page)).not_to_be_focused()
    expect(field(page)).to_have_value("Thank ")


def test_the_end_of_a_sentence_begins_a_new_line(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very much. ")
    expect(options(page).first).to_contain_text("end of sentence")
    page.keyboard.press("Tab")
    expect(field(page)).to_have_value("Thank you very much.\n")
    expect(options(page).first).to_contain_text("The")
    assert stub.bodies(PREDICT)[-1]["inputs"] == ""


def test_moving_the_caret_asks_for_the_words_there(page: "Page", stub: Stub) -> None:
    write(page, "Thank you very ")
    expect(options(page).first).to_contain_text("much")
    page.evaluate("document.getElementById('text').setSelectionRange(5, 5)")
    expect(options(page).first).to_have_text("Thank74.1%")
    assert stub.bodies(PREDICT)[-1] == {"inputs": "", "k": 10, "prefix": "Thank"}
    page.evaluate("document.getElementById('text').setSelectionRange(3, 3)")
    expect(page.locator("#none")).to_have_text("Move the caret to the end of a word for its completions.")


def test_timing_and_number_of_words(page: "Page") -> None:
    expect(page.locator("#timing [data-item=batch]")).to_have_text("Batch3")
    expect(page.locator("#timing [data-item=cached]")).to_have_text("Cached words2")
    expect(page.locator("#timing [data-item=engine]")).to_have_text("Model0.8 ms")
    page.get_by_label("Words", exact=True).select_option("5")
    expect(options(page)).to_have_count(5)


def test_screen_readers_hear_the_best_word(page: "Page") -> None:
    write(page, "Thank you very ")
    expect(page.locator("#live")).to_have_text("10 words. Best: much, 74.1%.")


def test_the_strip_shows_what_the_server_tells(page: "Page", stub: Stub) -> None:
    plot = page.get_by_role(
        "img", name="The head, 2,000 frequent words, is always scored; 10 tail clusters hold"
    )
    expect(plot).to_be_visible()
    expect(page.locator("#plot .line")).to_have_text("10th best, 0.022%")
    expect(page.locator(".cell")).to_have_count(11)
    expect(page.locator(".cell.opened")).to_have_count(0)
    assert "explain" not in stub.bodies(PREDICT)[0]
    stub.explains = True
    page.reload()
    expect(page.locator(".cell.opened")).to_have_count(6)
    expect(page.locator("#strip-caption")).to_contain_text("Opened for this prediction: 6 of 10.")
    assert stub.bodies(PREDICT)[-1]["explain"] is True


def test_an_error_is_shown_calmly_and_goes_away(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("422 (Unprocessable",)
    stub.fault = Fault(422, "inputs must have at most 9 words.", "inputs")
    write(page, "Thank ")
    banner = page.locator("#banner")
    expect(banner).to_contain_text("inputs must have at most 9 words.")
    stub.fault = None
    write(page, "you very ")
    expect(options(page).first).to_contain_text("much")
    expect(banner).to_be_empty()


def test_a_full_queue_is_tried_again(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("429 (Too Many",)
    stub.fault = Fault(429, "The queue is full.", headers={"retry-after": "1"})
    write(page, "Thank ")
    expect(page.locator("#banner")).to_contain_text("The queue is full.")
    stub.fault = None
    expect(options(page).first).to_contain_text("you")
    expect(page.locator("#banner")).to_be_empty()


def test_the_key_is_kept_for_this_tab_only(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("401 (Unauthorized",)
    stub.key = "secret"
    page.reload()
    expect(page.locator("#banner")).to_contain_text("The API key is missing or wrong.")
    page.get_by_role("button", name="Enter API key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("secret")
    page.get_by_role("button", name="Use key").click()
    expect(options(page)).to_have_count(10)
    expect(page.locator("#banner")).to_be_empty()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    page.reload()
    expect(options(page)).to_have_count(10)


def test_the_theme_is_kept(page: "Page") -> None:
    button = page.get_by_role("button", name="Dark theme")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"


@pytest.mark.parametrize("name", ["Predict", "Score"])
def test_a_phone_does_not_scroll_sideways(page: "Page", name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("tab", name=name).click()
    if name == "Score":
        page.get_by_role("button", name="Try an example").click()
        page.locator(".sentence").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
