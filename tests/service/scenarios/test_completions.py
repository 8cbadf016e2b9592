"""POST /v1/completions against a real server: its answers follow from /v1/predict and /v1/score."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from tests.support.server_process import asked, until

THANK = "Thank you very"


@pytest.fixture(scope="module", params=["0", "1"])
def http(bundle_path: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    arguments = ["--model", str(bundle_path), "--http-workers", request.param]
    with asked(*arguments, "--max-inputs", "40", "--max-completion-words", "30") as client:
        yield client


def complete(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def texts(http: httpx.Client, **body: Any) -> list[str]:
    return [choice["text"] for choice in complete(http, **body)["choices"]]


def events(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_the_shape_is_openais(http: httpx.Client, bundle: Bundle) -> None:
    found = complete(http, prompt=THANK, max_tokens=3, seed=1)
    assert found["object"] == "text_completion"
    assert found["model"] == bundle.name
    assert found["id"].startswith("cmpl-")
    (choice,) = found["choices"]
    assert list(choice) == ["index", "text", "logprobs", "finish_reason"]
    usage = found["usage"]
    assert usage["prompt_tokens"] == 3
    assert usage["total_tokens"] == 3 + usage["completion_tokens"]


def test_no_temperature_is_the_best_word_each_time(http: httpx.Client, bundle: Bundle) -> None:
    found = complete(http, prompt=THANK, max_tokens=6, temperature=0, logprobs=1)
    text, expected = THANK, []
    for _ in range(6):
        answer = http.post("/v1/predict", json={"inputs": text, "k": 1}).json()
        (word,) = answer["results"][0]["words"]
        expected.append((word["word"], word["logprob"]))
        if word["word"] == "</s>":
            break
        text = bundle.vocabulary.decode(bundle.vocabulary.encode_batch([f"{text} {word['word']}"])[0])
    logprobs = found["choices"][0]["logprobs"]
    assert [token.strip() for token in logprobs["tokens"]] == [word for word, _ in expected]
    assert logprobs["token_logprobs"] == pytest.approx([value for _, value in expected], abs=1e-4)
    assert THANK + found["choices"][0]["text"] == text
    assert [max(top.values()) for top in logprobs["top_logprobs"]] == logprobs["token_logprobs"]


def test_a_seed_repeats(http: httpx.Client) -> None:
    options = {"prompt": [THANK, "of the"], "n": 3, "max_tokens": 8, "temperature": 2, "seed": 5}
    first = texts(http, **options)
    assert first == texts(http, **options)
    assert len(set(first)) > 3
    assert first != texts(http, **options | {"seed": 6})
    assert texts(http, **options | {"seed": None}) != texts(http, **options | {"seed": None})


def test_echo_scores_the_prompt(http: httpx.Client) -> None:
    found = complete(http, prompt="Thank you, zzz “the” end", max_tokens=0, echo=True, logprobs=2)
    (choice,) = found["choices"]
    scored = http.post(
        "/v1/score", json={"inputs": "Thank you, zzz “the” end", "end_of_sentence": False}
    ).json()["results"][0]
    assert choice["text"] == "Thank you, zzz “the” end"
    logprobs = choice["logprobs"]
    assert [token.strip() for token in logprobs["tokens"]] == [word["word"] for word in scored["words"]]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["token_logprobs"] == pytest.approx(
        [word["logprob"] for word in scored["words"]], abs=2e-6
    )
    assert logprobs["text_offset"][:4] == [0, 5, 9, 10]
    assert logprobs["text_offset"][-1] == choice["text"].index(" end")
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == logprob
        assert 2 <= len(top) <= 3


def test_echo_goes_before_the_completion(http: httpx.Client) -> None:
    options = {"prompt": THANK, "max_tokens": 4, "seed": 2, "logprobs": 0}
    plain, echoed = complete(http, **options), complete(http, echo=True, **options)
    before, after = echoed["choices"][0], plain["choices"][0]
    assert before["text"] == THANK + after["text"]
    assert before["logprobs"]["tokens"][3:] == after["logprobs"]["tokens"]
    assert before["logprobs"]["top_logprobs"] is None
    for word, at in zip(before["logprobs"]["tokens"], before["logprobs"]["text_offset"], strict=True):
        assert word == "</s>" or before["text"][at:].startswith(word)


def test_ids_are_prompts_too(http: httpx.Client, bundle: Bundle) -> None:
    (ids,) = bundle.vocabulary.encode_batch([THANK])
    options = {"max_tokens": 4, "seed": 2, "echo": True, "logprobs": 1}
    text, given = complete(http, prompt=THANK, **options), complete(http, prompt=ids, **options)
    assert given["choices"] == text["choices"]
    started = complete(http, prompt=[[bundle.vocabulary.start_id, *ids]], **options)["choices"][0]
    assert started["text"] == text["choices"][0]["text"]
    assert started["logprobs"]["tokens"][0] == "</s>"
    assert started["logprobs"]["token_logprobs"][0] is None
    assert started["logprobs"]["token_logprobs"][1:] == text["choices"][0]["logprobs"]["token_logprobs"]


def test_no_prompt_is_the_start_of_a_sentence(http: httpx.Client) -> None:
    assert texts(http, temperature=0, max_tokens=2) == texts(http, prompt="", temperature=0, max_tokens=2)
    empty = complete(http, prompt="", max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert (empty["text"], empty["logprobs"]["tokens"]) == ("", [])


def test_stop_strings_end_the_text_before_them(http: httpx.Client) -> None:
    options = {"prompt": THANK, "max_tokens": 20, "seed": 4, "logprobs": 0}
    whole = complete(http, **options)["choices"][0]
    stop = whole["logprobs"]["tokens"][3].strip()
    cut = complete(http, stop=[stop], **options)["choices"][0]
    assert cut["text"] == whole["text"][: whole["text"].index(stop)]
    assert cut["finish_reason"] == "stop"
    assert all(at < len(cut["text"]) for at in cut["logprobs"]["text_offset"])
    streamed = events(http, stop=stop, **options)
    assert "".join(event["choices"][0]["text"] for event in streamed) == cut["text"]


def test_a_bias_forces_and_forbids(http: httpx.Client, bundle: Bundle) -> None:
    (word,) = bundle.vocabulary.encode_batch(["you"])[0]
    forced = texts(http, prompt="of", max_tokens=3, logit_bias={str(word): 100}, seed=1)
    assert forced == [" you you you"]
    never = {str(word): -100, str(bundle.vocabulary.end_id): -100}
    found = complete(http, prompt="of", max_tokens=20, n=4, seed=1, logit_bias=never)["choices"]
    assert all("you" not in choice["text"].split() for choice in found)
    assert all(choice["finish_reason"] == "length" for choice in found)


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties_hold_against_repetition(http: httpx.Client, penalty: str) -> None:
    options = {"prompt": "of", "max_tokens": 12, "temperature": 0}
    free, held = (texts(http, **options, **{penalty: value})[0].split() for value in (-2, 2))
    assert len(set(held)) > len(set(free))


def test_best_of_returns_the_most_probable(http: httpx.Client) -> None:
    options = {"prompt": THANK, "max_tokens": 5, "seed": 9, "logprobs": 0}
    every = complete(http, n=8, **options)["choices"]
    best = complete(http, n=2, best_of=8, **options)

    def mean(choice: dict[str, Any]) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return float(sum(values) / len(values))

    ranked = sorted(every, key=lambda choice: -mean(choice))
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for choice in ranked[:2]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    generated = sum(len(choice["logprobs"]["tokens"]) for choice in every)
    assert best["usage"]["completion_tokens"] == generated


def test_a_stream_is_the_answer_in_pieces(http: httpx.Client) -> None:
    options = {"prompt": [THANK, "of the"], "n": 2, "max_tokens": 6, "seed": 3, "echo": True, "logprobs": 1}
    whole = complete(http, **options)
    pieces = events(http, stream_options={"include_usage": True}, **options)
    assert pieces.pop()["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [one["choices"][0] for one in pieces if one["choices"][0]["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        assert [one["finish_reason"] for one in mine] == [None] * (len(mine) - 1) + [choice["finish_reason"]]
        for key, value in choice["logprobs"].items():
            joined = [each for one in mine if one["logprobs"] for each in one["logprobs"][key]]
            assert joined == value
    assert len({one["id"] for one in pieces}) == 1


def test_nothing_to_generate_streams_its_end(http: httpx.Client) -> None:
    (only,) = events(http, prompt=THANK, max_tokens=0)
    assert only["choices"][0]["finish_reason"] == "length"


def test_a_prompt_that_ends_in_a_space_needs_no_other(http: httpx.Client) -> None:
    options = {"max_tokens": 3, "seed": 2}
    (plain,), (spaced,) = texts(http, prompt=THANK, **options), texts(http, prompt=THANK + " ", **options)
    assert plain.lstrip(" ") == spaced


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"suffix": "x"}, 422, "suffix", "unsupported"),
        ({"n": 3, "best_of": 2}, 422, "best_of", "invalid_value"),
        ({"best_of": 2, "stream": True}, 422, "best_of", "unsupported"),
        ({"stream_options": {"include_usage": True}}, 422, "stream_options", "invalid_value"),
        ({"max_tokens": 31}, 422, "max_tokens", "invalid_value"),
        ({"max_tokens": -1}, 422, "max_tokens", "invalid_value"),
        ({"temperature": 2.5}, 422, "temperature", "invalid_value"),
        ({"top_p": 1.5}, 422, "top_p", "invalid_value"),
        ({"logprobs": 6}, 422, "logprobs", "invalid_value"),
        ({"stop": ["a"] * 5}, 422, "stop", "invalid_value"),
        ({"stop": [""]}, 422, "stop[0]", "invalid_value"),
        ({"logit_bias": {"the": 1}}, 422, "logit_bias", "invalid_value"),
        ({"logit_bias": {"999999": 1}}, 422, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, 422, "logit_bias.1", "invalid_value"),
        ({"prompt": []}, 422, "prompt", "empty"),
        ({"prompt": ["a", 1]}, 422, "prompt", "invalid_type"),
        ({"prompt": [1, "a"]}, 422, "prompt", "invalid_type"),
        ({"prompt": [[1], "a"]}, 422, "prompt", "invalid_type"),
        ({"prompt": [True]}, 422, "prompt[0]", "invalid_type"),
        ({"prompt": [1, 10_000]}, 422, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], [-1]]}, 422, "prompt[1][0]", "invalid_value"),
        ({"prompt": ["a"] * 41}, 422, "prompt", "too_many_inputs"),
        ({"prompt": ["a"] * 21, "n": 2}, 422, "n", "too_many_inputs"),
        ({"prompt": ["a " * 90_000] * 3, "echo": True, "logprobs": 0}, 422, "prompt", "too_many_words"),
        ({"tools": []}, 422, "tools", "unknown_field"),
        ({"model": "other"}, 404, "model", "model_not_found"),
        ({"timeout_ms": 1, "max_tokens": 30, "n": 40}, 504, None, "deadline_exceeded"),
    ],
)
def test_what_cannot_be_done_is_refused(
    http: httpx.Client, body: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    response = http.post("/v1/completions", json={"prompt": THANK, "max_tokens": 5} | body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (status, param, code), error["message"]
    assert http.post("/v1/completions", json={"prompt": THANK, "max_tokens": 1}).status_code == 200


def test_a_client_that_leaves_a_stream_leaves_nothing_behind(http: httpx.Client) -> None:
    for _ in range(3):
        with http.stream(
            "POST", "/v1/completions", json={"prompt": THANK, "max_tokens": 30, "n": 10, "stream": True}
        ) as response:
            next(response.iter_lines())
    complete(http, prompt=THANK, max_tokens=1)
    # The server may see only now that the last one left.
    until(lambda: "headfirst_queue_depth 0.0" in http.get("/metrics").text)
    metrics = http.get("/metrics").text
    assert 'headfirst_requests_total{endpoint="/v1/completions",status="500"} 0.0' in metrics


def test_tokens_there_and_back(http: httpx.Client, bundle: Bundle) -> None:
    text = "Thank you, very much."
    found = http.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
    assert found["tokens"] == bundle.vocabulary.encode_batch([text])[0]
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert http.post("/detokenize", json={"tokens": found["tokens"]}).json()["prompt"] == (
        bundle.vocabulary.decode(found["tokens"])
    )
    special = http.post("/tokenize", json={"prompt": text, "add_special_tokens": True}).json()
    assert special["tokens"] == [bundle.vocabulary.start_id, *found["tokens"]]
    assert "token_strs" not in special
    end = http.post("/tokenize", json={"prompt": "</s>"}).json()
    assert end["tokens"] == [bundle.vocabulary.end_id]
    info = http.get("/tokenizer_info").json()
    assert (info["vocab_size"], info["eos_token"]) == (len(bundle.vocabulary), "</s>")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/detokenize", {"tokens": [1.5]}, "tokens[0]"),
        ("/detokenize", {"tokens": [100_000]}, "tokens[0]"),
    ],
)
def test_what_is_no_token_is_refused(http: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    response = http.post(path, json=body)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == param


def test_drawn_words_are_as_frequent_as_they_are_probable(http: httpx.Client) -> None:
    """By /v1/predict's own probabilities, tempered; 40 draws a request, a thousand in all."""
    draws = []
    for seed in range(25):
        draws += texts(http, prompt=THANK, n=40, max_tokens=1, temperature=2, seed=seed)
    (result,) = http.post("/v1/predict", json={"inputs": THANK, "k": 1000}).json()["results"]
    total = sum(math.exp(word["logprob"] / 2) for word in result["words"])
    statistic, freedom, rest, others = 0.0, 0, 1.0, len(draws)
    for word in result["words"]:
        probability = math.exp(word["logprob"] / 2) / total
        if probability * len(draws) < 10:
            continue
        text = "" if word["word"] == "</s>" else word["word"]
        count = sum(draw.strip() == text for draw in draws)
        statistic += (count - probability * len(draws)) ** 2 / (probability * len(draws))
        freedom, rest, others = freedom + 1, rest - probability, others - count
    statistic += (others - rest * len(draws)) ** 2 / (rest * len(draws))
    assert freedom > 3
    assert statistic < freedom + 6 * math.sqrt(2 * freedom) + 6
