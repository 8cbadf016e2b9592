"""One answer for one question: a text scored over HTTP, by the client, KServe, completions, command line and
bulk; and what a real server with a spelling model makes of texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.benchmarking.text import SAMPLE
from models.bundle import Bundle
from service.client import Client, ServerError
from tests.support.commands import json_rows, run
from tests.support.http import score
from tests.support.server_process import ServerProcess

LINES = SAMPLE.read_text("utf-8").splitlines()

TEXTS = {
    "empty": "",
    "white space": " \t\u3000 ",
    "invisible": "\u200b\ufeff",
    "a word": "the",
    "capitals": "IT IS THE BIN, THANK YOU",
    "look-alikes": "\u201cDon\u2019t\u201d \u2014 he said\u2026",
    "unknown words": "the frozen plane of kxqzt \U0001f468\u200d\U0001f469",
    "a line end within": "Thank you.\nThank you very much.",
    "a carriage return": "Thank you.\rThank you",
}
NOT_TEXTS: dict[str, object] = {
    "a number": 3,
    "nothing": None,
    "a boolean": True,
    "an object": {"a": "b"},
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "": (),
    "end_of_sentence": ("--no-end-of-sentence",),
    "lines": ("--lines",),
    "class": ("--unknown", "class"),
    "any case": ("--ignore-case",),
}
FIELDS: dict[str, dict[str, Any]] = {
    "": {},
    "end_of_sentence": {"end_of_sentence": False},
    "lines": {"lines": True},
    "class": {"unknown": "class"},
    "any case": {"ignore_case": True},
}


@pytest.fixture(scope="module")
def server(spelled_path: Path) -> Iterator[ServerProcess]:
    """With a worker process, which has the spelling model by what the engine process announced."""
    running = ServerProcess("--model", str(spelled_path), "--http-workers", "1")
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


Answer = float | str | None
"""A text's log-probability; an error's code; None for a row without numbers."""


def by_http(http: httpx.Client, text: object, **fields: Any) -> Answer:
    response = http.post("/v1/score", json={"inputs": [text], **fields})
    if response.status_code == 422:
        code: str = response.json()["error"]["code"]
        return code
    found: float = response.raise_for_status().json()["results"][0]["logprob"]
    return found


def by_client(client: Client, text: Any, **fields: Any) -> Answer:
    answers: list[Answer] = []
    for inputs in (text, [text]):
        try:
            answers.append(client.score(inputs, **fields)[0].logprob)
        except ServerError as error:
            answers.append(error.code)
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
    return answers[1]


def by_kserve(http: httpx.Client, text: object, **fields: Any) -> Answer:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    body = {"inputs": [tensor], "parameters": {"task": "score", **fields}}
    response = http.post("/v2/models/spelled/infer", json=body)
    if response.status_code == 422:
        code: str = response.json()["error"]["code"]
        return code
    outputs = response.raise_for_status().json()["outputs"]
    (found,) = (one["data"][0] for one in outputs if one["name"] == "logprob")
    return float(found)


def by_bulk(model: Path, folder: Path, text: object, *options: str) -> Answer:
    (folder / "in.jsonl").write_text(json.dumps({"text": text}) + "\n")
    arguments = ("--input", folder / "in.jsonl", "--output", folder / "out.jsonl", "--overwrite", *options)
    result = run("score", "--model", model, *arguments)
    assert result.exit_code == 0, result.stderr
    row = json.loads((folder / "out.jsonl").read_text())
    if row["logprob"] is None:
        assert row["perplexity"] is row["known_perplexity"] is row["word_count"] is None
        assert "1 rows have no score" in result.stderr
    found: Answer = row["logprob"]
    return found


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", TEXTS)
def test_every_way_in_gives_the_same_number_or_the_same_error(
    http: httpx.Client, client: Client, spelled_path: Path, tmp_path: Path, name: str, options: str
) -> None:
    text, fields, arguments = TEXTS[name], FIELDS[options], OPTIONS[options]
    expected = by_http(http, text, **fields)
    nothing = not text.strip("\u200b\ufeff \t\u3000")
    assert isinstance(expected, float) or (expected == "empty" and nothing)
    assert (expected == "empty") == (nothing and options == "end_of_sentence")
    same = pytest.approx(expected, abs=2e-5)
    assert by_client(client, text, **fields) == same
    assert by_kserve(http, text, **fields) == same
    offline = None if expected == "empty" else same
    assert by_bulk(spelled_path, tmp_path, text, *arguments) == offline
    if "\n" not in text:
        (row,) = json_rows(run("score", "-", "--model", spelled_path, *arguments, stdin=f"{text}\n".encode()))
        assert row["logprob"] == offline
        assert (row["word_count"] == 0) == (expected == "empty")


@pytest.mark.parametrize("name", NOT_TEXTS)
def test_what_is_no_text_is_the_same_error_everywhere(
    http: httpx.Client, client: Client, spelled_path: Path, tmp_path: Path, name: str
) -> None:
    value = NOT_TEXTS[name]
    assert by_http(http, value) == "invalid_type"
    assert by_client(client, value) == "invalid_type"
    assert by_kserve(http, value) == "invalid_type"
    assert by_bulk(spelled_path, tmp_path, value) is None
    # A null prompt is the default one to OpenAI's clients.
    for prompt in (["a", value],) if value is None else (value, ["a", value]):
        response = http.post("/v1/completions", json={"prompt": prompt, "echo": True, "logprobs": 0})
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_type")
    for context in (value, [value]):
        assert by_http(http, "the", context=context) == "invalid_type"


@pytest.mark.parametrize("name", TEXTS)
def test_completions_echo_the_same_numbers(http: httpx.Client, name: str) -> None:
    """They have no end of sentence, and of a text without words no token."""
    text = TEXTS[name]
    body = {"prompt": text, "echo": True, "logprobs": 0, "max_tokens": 0}
    response = http.post("/v1/completions", json=body)
    found = response.raise_for_status().json()["choices"][0]["logprobs"]["token_logprobs"]
    expected = by_http(http, text, end_of_sentence=False)
    assert expected == "empty" if not found else math.fsum(found) == pytest.approx(expected, abs=1e-4)


def test_the_empty_text_is_the_end_of_a_sentence(http: httpx.Client) -> None:
    (predicted,) = http.post("/v1/predict", json={"inputs": "", "k": 300}).json()["results"]
    (end,) = (word["logprob"] for word in predicted["words"] if word["word"] == "</s>")
    for text in ("", " \n ", "\u200b"):
        for lines in (False, True):
            (result,) = score(http, inputs=text, lines=lines)
            assert result["logprob"] == pytest.approx(end, abs=1e-5)
            (word,) = result["words"]
            assert (word["word"], word["start"], word["end"]) == ("</s>", len(text), len(text))


@given(st.sampled_from(LINES), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scores_add_up_wherever_a_text_is_cut(http: httpx.Client, line: str, data: st.DataObject) -> None:
    """At any white space of a real line, at any mark beside it."""
    blanks = [at for at, character in enumerate(line) if character.isspace()]
    cuts = data.draw(st.lists(st.sampled_from(blanks or [len(line)]), min_size=1, max_size=4))
    (whole,) = score(http, inputs=line, per_word=False)
    firsts = [line[:cut] for cut in cuts]
    rests = score(http, inputs=[line[cut:] for cut in cuts], context=firsts, per_word=False)
    begun = score(http, inputs=[first + "." for first in firsts], end_of_sentence=False)
    for first, rest in zip(begun, rests, strict=True):
        # The full stop, which is there so that no text is empty, is taken off again.
        before = [word["logprob"] for word in first["words"][:-1]]
        assert math.fsum(before) + rest["logprob"] == pytest.approx(whole["logprob"], abs=1e-4)


def test_lines_are_scored_as_texts_of_their_own(http: httpx.Client) -> None:
    lines = [line for line in LINES[:300] if line.strip()]
    (whole,) = score(http, inputs="\r\n".join(lines), lines=True, per_word=False)
    apart = score(http, inputs=lines, per_word=False)
    assert len(whole["lines"]) == len(lines) > 256  # More than are asked at once.
    for line, one in zip(whole["lines"], apart, strict=True):
        assert line == {
            "logprob": pytest.approx(one["logprob"], abs=1e-4),
            "word_count": one["word_count"],
            "unknown_words": one["unknown_words"],
            "perplexity": pytest.approx(one["perplexity"], rel=1e-4),
        }
    assert whole["logprob"] == pytest.approx(math.fsum(one["logprob"] for one in apart), abs=1e-2)


def test_a_context_for_each(http: httpx.Client, client: Client) -> None:
    contexts, texts = ["Thank you very", "", "the frozen"], ["much.", "much.", "much."]
    expected = [score(http, inputs=text, context=one)[0] for text, one in zip(texts, contexts, strict=True)]
    together = score(http, inputs=texts, context=contexts)
    assert [one["logprob"] for one in together] == pytest.approx(
        [one["logprob"] for one in expected], abs=1e-5
    )
    assert len({round(one["logprob"], 3) for one in expected}) == 3
    assert [one.logprob for one in client.score(texts, context=contexts)] == pytest.approx(
        [one["logprob"] for one in expected], abs=1e-5
    )
    with pytest.raises(ValueError, match="context must be as many as the inputs: 3, not 2"):
        client.score(texts, context=contexts[:2])


def test_the_client_has_all_options(client: Client, http: httpx.Client) -> None:
    text = "He's a well-known quiz."
    (spaced,) = client.score(text, group="space")
    assert [(word.word, word.tokens) for word in spaced.words][1:3] == [("a", 1), ("well-known", 3)]
    (regions,) = client.score(text, regions=[(0, 6), (7, 23)])
    assert [(word.word, word.tokens) for word in regions.words] == [("He's a", 3), ("well-known quiz.", 5)]
    several = client.score([text, "the"], regions=[[(0, 6)], [(0, 3), (0, 0)]])
    assert [[word.word for word in one.words] for one in several] == [["He's a"], ["the", ""]]
    spelled, of_class = client.score(text)[0], client.score(text, unknown_penalty=2)[0]
    assert spelled.unknown_words == of_class.unknown_words > 0
    plain = client.score(text, unknown="class")[0]
    assert spelled.logprob is not None
    assert plain.logprob is not None
    assert of_class.logprob == pytest.approx(plain.logprob - 2 * plain.unknown_words, abs=1e-4)
    assert spelled.logprob < plain.logprob
    assert spelled.known_perplexity == pytest.approx(plain.known_perplexity, rel=1e-5)
    (lines,) = client.score("the\nquiz", lines=True)
    assert lines.lines is not None
    assert [line.unknown_words for line in lines.lines] == [0, 1]


def test_nonsense_is_dear(spelled: Bundle, http: httpx.Client) -> None:
    texts = ["the frozen planes", "the kxqzt zzvwq"]
    plain, nonsense = (one["logprob"] for one in score(http, inputs=texts))
    assert nonsense < plain
    known = [one["known_perplexity"] for one in score(http, inputs=texts, unknown="class")]
    assert known == [one["known_perplexity"] for one in score(http, inputs=texts)]


def test_a_transcript_in_capitals(client: Client, http: httpx.Client, spelled_path: Path) -> None:
    plain, capitals = "it is the bin", "IT IS THE BIN"
    (lower,) = client.score(plain, ignore_case=True)
    (upper,) = client.score(capitals, ignore_case=True)
    assert upper.logprob is not None
    assert upper.unknown_words == 0
    assert [word.word for word in upper.words][:4] == capitals.split()
    assert all(word.token is not None and word.token.upper() == word.word for word in upper.words[:4])
    # "it" and "It" are both words: what is read for IT is the more frequent one.
    first = math.log(
        sum(math.exp(score(http, inputs=word)[0]["words"][0]["logprob"]) for word in ("it", "It"))
    )
    assert lower.words[0].logprob == pytest.approx(first, abs=1e-5)
    assert upper.words[0].logprob == pytest.approx(first, abs=1e-5)
    (typed,) = client.score(capitals)
    assert typed.unknown_words == 4
    assert typed.logprob is not None
    assert typed.logprob < upper.logprob
    (row,) = json_rows(run("score", "-", "--model", spelled_path, "--ignore-case", stdin=capitals.encode()))
    assert row["logprob"] == pytest.approx(upper.logprob, abs=1e-4)
    (rest,) = client.score("THE BIN", context="IT IS", ignore_case=True)
    assert [word.logprob for word in rest.words] == pytest.approx(
        [word.logprob for word in upper.words[2:]], abs=1e-4
    )


@pytest.mark.parametrize(
    "cost", [{}, {"unknown": "spelled"}, {"unknown": "class"}, {"unknown_penalty": 2.5}], ids=str
)
def test_an_echoed_prompt_costs_what_the_text_does(http: httpx.Client, cost: dict[str, object]) -> None:
    text = "The zzyx, the zzyx of it"
    asked = {"prompt": text, "echo": True, "max_tokens": 0, "logprobs": 2, **cost}
    (choice,) = http.post("/v1/completions", json=asked).json()["choices"]
    (scored,) = http.post("/v1/score", json={"inputs": text, "end_of_sentence": False, **cost}).json()[
        "results"
    ]
    assert scored["unknown_words"] == 2
    told = choice["logprobs"]
    assert told["token_logprobs"] == pytest.approx([word["logprob"] for word in scored["words"]], abs=2e-6)
    for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        assert top[token] == logprob


def test_an_echoed_prompt_is_refused_as_a_text_is(http: httpx.Client) -> None:
    asked = {"prompt": "it", "echo": True, "unknown": "spelled", "unknown_penalty": 1}
    error = http.post("/v1/completions", json=asked).json()["error"]
    assert error["param"] == "unknown_penalty"
