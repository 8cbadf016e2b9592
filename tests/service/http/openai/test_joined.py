"""Completions whose words are marks: the text goes on as one request would have, and tokens are its parts."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from models.text.tokenizer import END
from service.contract.messages import Predicted
from service.http.openai.completion import GrowingCompletion, Options
from tests.support.engines import TIMING
from tests.support.server_process import asked
from tests.support.spy import hidden_rows
from tests.support.tiny import marked_bundle

OPENED = [
    "",
    " ",
    'He said "',
    "(",
    "well-",
    "the dogs\u2019",
    "a -",
    "\u201cHi",
    "[",
    "said\u2014",
    "(-",
    "don\u2019",
    "U.S.",
]
PROMPTS = st.one_of(
    st.sampled_from(OPENED),
    st.lists(
        st.sampled_from([*"\"'()[]-\u2014\u2019\u201c\u201d.,\u2026 ", "the", "well", "don't", "'s"])
    ).map("".join),
)


@cache
def marked() -> Bundle:
    with TemporaryDirectory() as directory:
        return Bundle.load(marked_bundle(Path(directory)), "cpu")


def generate(prompt: str, words: int, bias: tuple[tuple[int, float], ...]) -> list[tuple[str, str]]:
    """The best next words, one after another, each with what it adds to the text."""
    bundle = marked()
    vocabulary = bundle.vocabulary
    options = Options(words, 0.0, 1.0, 0, None, (), bias, 0.0, 0.0, 512)
    ids = vocabulary.encode_batch([prompt])[0]
    growing = GrowingCompletion(vocabulary, ids, options, offset=0, text=prompt, number=0)
    made = []
    while growing.finish is None:
        asked, at = growing.ask("", 0.0), len(growing.text)
        assert asked.sampling is not None
        drawn = bundle.model.greedy(hidden_rows(bundle, asked.tokens)[-1:], dict(asked.sampling.bias))
        growing.accept(Predicted((), (), (), TIMING, drawn=drawn))
        made.append((vocabulary.word(drawn[0]), growing.text[at:]))
    return made


MARKS = ["the", "Don't", '"', "'", "(", ")", "--", "-", ".", "'s", "don't", "..."]


@given(PROMPTS, st.lists(st.tuples(st.sampled_from(MARKS), st.floats(0, 30)), max_size=6))
def test_a_continuation_appended_goes_on(prompt: str, likely: list[tuple[str, float]]) -> None:
    bias = tuple((marked().vocabulary.ids_of([word])[0], nats) for word, nats in likely)
    made = generate(prompt, 6, bias)
    for cut in range(1, len(made)):
        if made[cut - 1][0] == "-":
            continue  # A hyphen that nothing touches yet is one only with the next word.
        text = prompt + "".join(added for _, added in made[:cut])
        assert generate(text, 6 - cut, bias) == made[cut:], (text, made)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with asked("--model", str(marked_bundle(tmp_path_factory.mktemp("marked")))) as client:
        yield client


@pytest.mark.parametrize(
    "prompt", [*OPENED, "  \u201cthe\u201d  (don\u2019t)\u2014the\u00a0ban- ", "\ufeffthe\u200b ban\n"]
)
def test_tokens_are_the_text(http: httpx.Client, prompt: str) -> None:
    options = {"prompt": prompt, "max_tokens": 8, "seed": 3, "temperature": 2, "echo": True, "logprobs": 1}
    (choice,) = http.post("/v1/completions", json=options).raise_for_status().json()["choices"]
    tokens, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    assert "".join([token for token in tokens if token != END]) == (
        choice["text"] if prompt.strip() else choice["text"][len(prompt) :]
    )
    assert choice["text"].startswith(prompt)
    for token, at in zip(tokens, offsets, strict=True):
        assert token == END or choice["text"][at:].startswith(token)
    *lines, done = http.post("/v1/completions", json=options | {"stream": True}).text.split("\n\n")[:-1]
    assert done == "data: [DONE]"
    streamed = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]
    assert "".join(part["text"] for part in streamed) == choice["text"]
    parts = [part["logprobs"] for part in streamed]
    assert [token for part in parts if part for token in part["tokens"]] == tokens
    assert [at for part in parts if part for at in part["text_offset"]] == offsets
