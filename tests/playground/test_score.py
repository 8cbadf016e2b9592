"""The "Score" tab in a real browser."""

import csv
import io
import math
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.browser import Watch
from tests.playground.stub import Fault, Stub

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

SCORE = "/v1/score"


def score(page: "Page", text: str) -> None:
    page.get_by_role("tab", name="Score").click()
    page.get_by_label("Sentences, one a line").fill(text)
    page.keyboard.press("Control+Enter")


def read(page: "Page", button: str) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    content = Path(waiting.value.path()).read_bytes().decode()
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_words_are_colored_by_surprisal(page: "Page", stub: Stub) -> None:
    score(page, "Thank you very zorblat.\n\n  Yes.  ")
    sentences = page.locator(".sentence")
    expect(sentences).to_have_count(2)
    chips = sentences.first.locator(".chip")
    expect(chips).to_have_text(["Thank0.7", "you3.2", "very5.6", "zorblat8.1", ".10.5", "end13.0"])
    assert [chip.get_attribute("data-step") for chip in chips.all()] == ["0", "1", "2", "3", "4", "4"]
    unknown = sentences.first.locator(".chip.unknown")
    expect(unknown).to_have_count(1)
    expect(unknown).to_have_attribute(
        "title",
        "zorblat: 8.1 bits, log-probability \N{MINUS SIGN}5.600, "
        "not in the vocabulary: the surprisal of any unknown word",
    )
    expect(sentences.first.locator("dl")).to_have_text(
        "Perplexity115.6Log-probability\N{MINUS SIGN}28.50Words6Unknown1"
    )
    total = -28.5 + -6.6
    perplexity = math.exp(-total / 9)
    figures = [
        "2 sentences",
        "9 words",
        f"perplexity {perplexity:.1f}",
        "log-probability \N{MINUS SIGN}35.10",
    ]
    summary = ", ".join([*figures, "1 unknown word"])
    expect(page.get_by_role("heading", name=summary)).to_be_visible()
    expect(page.locator("#live")).to_have_text(summary)
    assert stub.bodies(SCORE) == [
        {"inputs": ["Thank you very zorblat.", "Yes."], "context": "", "end_of_sentence": True}
    ]


def test_options_are_sent(page: "Page", stub: Stub) -> None:
    page.get_by_role("tab", name="Score").click()
    page.get_by_label("Context").fill("We met.")
    page.get_by_label("Score the end of each sentence").uncheck()
    score(page, "Yes.")
    expect(page.locator(".chip")).to_have_count(2)
    assert stub.bodies(SCORE) == [{"inputs": ["Yes."], "context": "We met.", "end_of_sentence": False}]


def test_the_table_holds_the_same(page: "Page") -> None:
    score(page, "Thank zorblat")
    page.get_by_role("radio", name="Table").check()
    rows = page.get_by_role("table", name="Surprisal of 3 words").get_by_role("row")
    expect(rows).to_have_text(
        [
            "SentencePositionWordSurprisal, bitsLog-probabilityIn vocabulary",
            "11Thank0.72\N{MINUS SIGN}0.500yes",
            "12zorblat3.17\N{MINUS SIGN}2.200no",
            "13end of sentence5.63\N{MINUS SIGN}3.900yes",
        ]
    )
    expect(page.locator("#sentence-list")).to_be_hidden()


def test_csv_of_words_and_of_sentences(page: "Page") -> None:
    score(page, 'He said "yes", twice\nzorblat')
    page.locator(".sentence").first.wait_for()
    words = read(page, "CSV of words")
    assert [row["word"] for row in words] == ["He", "said", '"yes"', ",", "twice", "</s>", "zorblat", "</s>"]
    assert words[2] == {
        "sentence": "1",
        "position": "3",
        "word": '"yes"',
        "logprob": "-3.9",
        "surprisal_bits": str(round(3.9 / math.log(2), 6)),
        "known": "true",
    }
    assert words[6]["known"] == "false"
    sentences = read(page, "CSV of sentences")
    assert [row["text"] for row in sentences] == ['He said "yes", twice', "zorblat"]
    assert [row["unknown_words"] for row in sentences] == ["0", "1"]


def test_many_sentences_go_in_parts(page: "Page", stub: Stub) -> None:
    score(page, "\n".join(f"Line {i}" for i in range(250)))
    expect(page.locator("#shown")).to_have_text(
        "Shown: the first 200 of 250 sentences. The CSV files hold all."
    )
    assert [len(body["inputs"]) for body in stub.bodies(SCORE)] == [100, 100, 50]
    assert len(read(page, "CSV of sentences")) == 250


def test_stop_keeps_what_was_scored(page: "Page", stub: Stub) -> None:
    page.route("**/v1/score", lambda route: hold_second(route, stub))
    score(page, "\n".join(f"Line {i}" for i in range(150)))
    button = page.locator("#run-score")
    expect(page.locator("#live")).to_have_text("100 of 150 scored.")
    expect(button).to_have_text("Stop")
    button.click()
    assert stub.hold is not None
    stub.hold.set()
    expect(page.locator("#summary")).to_contain_text("100 of 150 sentences")
    expect(button).to_have_text("Score")
    expect(page.locator("#banner")).to_be_empty()
    page.unroute("**/v1/score")


def hold_second(route: "Route", stub: Stub) -> None:
    if stub.bodies(SCORE):
        stub.hold = threading.Event()
    route.continue_()


def test_an_error_names_the_sentence(page: "Page", stub: Stub, watch: Watch) -> None:
    watch.expected = ("422 (Unprocessable",)
    stub.fault = Fault(422, "inputs[1] must have at most 3 words.", "inputs[1]")
    score(page, "One.\nTwo.")
    expect(page.locator("#banner")).to_contain_text("Sentence 2 of 2: inputs[1] must have at most 3 words.")
    expect(page.locator("#results")).to_be_hidden()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#banner")).to_be_empty()


def test_tabs_move_by_arrow_keys_and_can_be_linked_to(page: "Page", stub: Stub) -> None:
    predict, score_tab = page.get_by_role("tab", name="Predict"), page.get_by_role("tab", name="Score")
    predict.focus()
    page.keyboard.press("ArrowRight")
    expect(score_tab).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Score")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Predict")).to_be_hidden()
    page.goto(stub.url)
    page.goto(f"{stub.url}#score")
    page.reload()
    expect(page.get_by_role("tabpanel", name="Score")).to_be_visible()
    nobody: Any = page.evaluate("document.activeElement === document.body")
    assert nobody, "the hidden tab's field takes no focus"


def test_words_point_into_the_typed_text(page: "Page", stub: Stub) -> None:
    stub.spans = True
    score(page, "\U0001f600 don\u2019t  zorblat.")
    sentence = page.locator(".sentence")
    expect(sentence.locator(".source")).to_have_text("\U0001f600 don\u2019t  zorblat.")
    expect(sentence.locator(".lit")).to_have_count(0)
    sentence.locator(".chip").nth(1).hover()
    expect(sentence.locator(".source .lit")).to_have_text("don\u2019t")
    sentence.locator(".source [data-word]").nth(2).hover()
    expect(sentence.locator(".chip.lit .surface")).to_have_text("zorblat")
    expect(sentence.locator(".source .lit")).to_have_text("zorblat")
    expect(sentence.locator(".chip").nth(1)).to_have_attribute("title", re.compile(", read as don't$"))
    expect(sentence.locator(".chip.unknown")).to_have_attribute(
        "title", re.compile("not in the vocabulary: the surprisal of its spelling$")
    )
    expect(sentence.locator("dl")).to_contain_text("Perplexity without unknown12.5")
