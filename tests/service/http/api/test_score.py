"""The options of /v1/score: what goes together, and what is named when it does not."""

import json
from typing import Any

import pytest

from models.bundle import Bundle
from tests.support.asgi import Local, LocalApp, error_of, post

pytestmark = pytest.mark.anyio

TEXT = "He\u2019s a quiz-plane man."


@pytest.fixture
def app(local: Local, spelled: Bundle) -> LocalApp:
    """Around a model with a spelling model."""
    made: LocalApp = local(of=spelled)
    return made


async def result(app: LocalApp, **body: object) -> dict[str, Any]:
    response = await post(app, "score", **body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["results"][0]
    return found


async def test_spans(app: LocalApp) -> None:
    found = await result(app, inputs=TEXT)
    assert [
        (word["word"], word["start"], word["end"], word["known"], word.get("token"))
        for word in found["words"]
    ] == [
        ("He", 0, 2, True, None),
        ("\u2019s", 2, 4, True, "'s"),
        ("a", 5, 6, True, None),
        ("quiz", 7, 11, False, None),
        ("-", 11, 12, True, None),
        ("plane", 12, 17, False, None),
        ("man", 18, 21, True, None),
        (".", 21, 22, True, None),
        ("</s>", 22, 22, True, None),
    ]


async def test_words_between_white_space(app: LocalApp) -> None:
    found = await result(app, inputs=TEXT, group="space")
    assert [
        (word["word"], word["start"], word["end"], word["tokens"], word["unknown_words"])
        for word in found["words"]
    ] == [
        ("He\u2019s", 0, 4, 2, 0),
        ("a", 5, 6, 1, 0),
        ("quiz-plane", 7, 17, 3, 2),
        ("man.", 18, 22, 2, 0),
        ("</s>", 22, 22, 1, 0),
    ]
    assert [word["known"] for word in found["words"]] == [True, True, False, True, True]
    plain = await result(app, inputs=TEXT)
    assert {**found, "words": 0} == {**plain, "words": 0}


async def test_regions_overlap_and_leave_gaps(app: LocalApp) -> None:
    regions = [[0, 6], [0, 17], [21, 22], [4, 5]]
    found = await result(app, inputs=TEXT, regions=regions)
    assert [word["word"] for word in found["words"]] == ["He\u2019s a", "He\u2019s a quiz-plane", ".", " "]
    assert [word["tokens"] for word in found["words"]] == [3, 6, 1, 0]
    tokens = [word["logprob"] for word in (await result(app, inputs=TEXT))["words"]]
    expected = [sum(tokens[:3]), sum(tokens[:6]), tokens[7], 0]
    assert [word["logprob"] for word in found["words"]] == pytest.approx(expected, abs=1e-5)
    several = (await post(app, "score", inputs=[TEXT, ""], regions=[regions, []])).json()["results"]
    assert [one["words"] for one in several] == [found["words"], []]


async def test_the_servers_setting_and_the_requests_word(local: Local, spelled: Bundle) -> None:
    class_app = local(of=spelled, unknown="class", unknown_penalty=1.5)
    spelled_app = local(of=spelled)
    text = "the frozen quiz"
    of_class = (await result(class_app, inputs=text, unknown_penalty=0))["logprob"]
    assert (await result(class_app, inputs=text))["logprob"] == pytest.approx(of_class - 3, abs=1e-5)
    by_spelling = (await result(spelled_app, inputs=text))["logprob"]
    assert (await result(class_app, inputs=text, unknown="spelled"))["logprob"] == by_spelling
    assert (await result(spelled_app, inputs=text, unknown="class"))["logprob"] == of_class
    assert (await result(spelled_app, inputs=text, unknown_penalty=2))["logprob"] == pytest.approx(
        of_class - 4, abs=1e-5
    )
    assert by_spelling < of_class


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"inputs": TEXT, "regions": [[0, 2], [8, 17]]}, "regions[1]", "invalid_value"),
        ({"inputs": [TEXT], "regions": [[[0, 2], [8, 17]]]}, "regions[0][1]", "invalid_value"),
        ({"inputs": TEXT, "regions": [[0, 23]]}, "regions[0]", "invalid_value"),
        ({"inputs": TEXT, "regions": [[2, 0]]}, "regions[0]", "invalid_value"),
        ({"inputs": TEXT, "regions": [[0, True]]}, "regions[0]", "invalid_type"),
        ({"inputs": TEXT, "regions": [[0, 2.0]]}, "regions[0]", "invalid_type"),
        ({"inputs": TEXT, "regions": [[0]]}, "regions[0]", "invalid_type"),
        ({"inputs": TEXT, "regions": [[0, 2, "a"]]}, "regions[0]", "invalid_type"),
        ({"inputs": TEXT, "regions": "all"}, "regions", "invalid_type"),
        ({"inputs": [TEXT, TEXT], "regions": [[[0, 2]]]}, "regions", "invalid_type"),
        ({"inputs": [TEXT], "regions": [[0, 2]]}, "regions[0][0]", "invalid_type"),
        ({"inputs": [TEXT], "regions": [5]}, "regions[0]", "invalid_type"),
        ({"inputs": TEXT, "regions": [[0, 2]], "group": "space"}, "group", "invalid_value"),
        ({"inputs": TEXT, "group": "line"}, "group", "invalid_value"),
        ({"inputs": TEXT, "unknown": "spelled", "unknown_penalty": 0}, "unknown_penalty", "invalid_value"),
        ({"inputs": TEXT, "unknown_penalty": -1}, "unknown_penalty", "invalid_value"),
        ({"inputs": TEXT, "unknown": "known"}, "unknown", "invalid_value"),
        ({"inputs": TEXT, "lines": True, "context": "a"}, "lines", "invalid_value"),
        ({"inputs": [TEXT, TEXT], "lines": True, "context": ["", "a"]}, "lines", "invalid_value"),
        ({"inputs": [TEXT, TEXT], "context": ["a"]}, "context", "invalid_value"),
        ({"inputs": TEXT, "context": ["a", "b"]}, "context", "invalid_value"),
        ({"inputs": TEXT, "context": 5}, "context", "invalid_type"),
        ({"inputs": [TEXT, TEXT], "context": ["a", "\ud800"]}, "context[1]", "invalid_unicode"),
        ({"inputs": [TEXT, TEXT], "context": ["a", "a " * 60]}, "context[1]", "too_many_words"),
        ({"inputs": [TEXT, TEXT], "context": ["a", "a" * 300]}, "context[1]", "too_many_characters"),
        ({"inputs": TEXT, "context": "a " * 60}, "context", "too_many_words"),
        ({"inputs": ["a", "a\n" * 60], "lines": True}, "inputs[1]", "too_many_words"),
        ({"inputs": ["a", "\n"], "lines": True, "end_of_sentence": False}, "inputs[1]", "empty"),
    ],
)
async def test_what_is_wrong_is_named(
    local: Local, spelled: Bundle, body: dict[str, object], param: str, code: str
) -> None:
    app = local(of=spelled, max_input_words=50, max_input_chars=200)
    async with app.client() as client:
        response = await client.post("/v1/score", content=json.dumps(body).encode())
    assert response.status_code == 422
    error = error_of(response)
    assert (error["param"], error["code"]) == (param, code)
    assert app.engine.submitted == []


async def test_a_model_that_cannot_spell(local: Local) -> None:
    error = error_of(await post(local(), "score", inputs="a", unknown="spelled"))
    assert (error["param"], error["code"]) == ("unknown", "unsupported")
    assert (await post(local(), "score", inputs="a", unknown="class")).status_code == 200
    assert (await post(local(unknown="spelled"), "score", inputs="a")).status_code == 200
