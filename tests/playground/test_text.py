"""The page's spacing of accepted words, against the model's own."""

import random
from typing import TYPE_CHECKING

import pytest

from models.text.spacing import join
from tests.playground.stub import Stub

pytest.importorskip("playwright.sync_api", reason="pip install playwright")

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORDS = "a the don't U.S. 3.5 I . , ; ! ? ) ] % ... ( [ $ # - / -- \" ' °".split()

ACCEPT_ALL = """async (texts) => {
  const { insertion } = await import("/text.js");
  return texts.map((words) => {
    let text = "";
    for (const word of words) {
      const { remove, text: added } = insertion(text, "", { word });
      text = text.slice(0, text.length - remove) + added;
    }
    return text.trimEnd();
  });
}"""

INSERT = """async ([before, after, word, completion]) => {
  const { insertion } = await import("/text.js");
  const { remove, text } = insertion(before, after, { word, completion });
  return before.slice(0, before.length - remove) + text + after;
}"""


@pytest.fixture(scope="module")
def module_page(tab: "Page", server: Stub) -> "Page":
    tab.goto(server.url)  # any page of the server can import its modules
    return tab


def test_accepted_words_are_spaced_as_the_model_joins_them(module_page: "Page") -> None:
    source = random.Random(7)
    texts = [source.choices(WORDS, k=source.randint(1, 12)) for _ in range(2000)]
    assert module_page.evaluate(ACCEPT_ALL, texts) == [join(words).rstrip() for words in texts]


@pytest.mark.parametrize(
    ("before", "after", "word", "completion", "result"),
    [
        ("Thank you very mu", "", "much", "much", "Thank you very much "),
        ("Thank you very much   ", "", ".", None, "Thank you very much. "),
        ("He said (", "", "and", None, "He said (and "),
        ("He said \u201cHel", "", "Hello", "\u201cHello", "He said \u201cHello "),
        ("a well-kn", "", "known", "well-known", "a well-known "),
        ("I live in y", "", "York", "York", "I live in York "),
        ("well-", "", "known", None, "well-known "),
        ("I don\u2019", "", "don't", "don\u2019t", "I don\u2019t "),
        ("I don'", "", "don't", "don't", "I don't "),
        ("Thank ", " very", "you", None, "Thank you very"),
        ("Thank you. ", "\nYes.", "</s>", None, "Thank you.\n\nYes."),
        ("One.\nTw", "", "Two", "Two", "One.\nTwo "),
        ("One.\n", "", "Two", None, "One.\nTwo "),
        ("a - ", "", "b", None, "a - b "),
    ],
)
def test_insertion(
    module_page: "Page", before: str, after: str, word: str, completion: str | None, result: str
) -> None:
    assert module_page.evaluate(INSERT, [before, after, word, completion]) == result
