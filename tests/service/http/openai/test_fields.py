"""What OpenAI's clients send always: null for a default, and other servers' fields with neutral values."""

import json
from typing import Any

import pytest

from service.contract.errors import InvalidRequest
from service.http.request.parsing import parse_object
from service.http.schemas.openai import NEUTRAL, CompletionRequest
from tests.support.asgi import Local, error_of, post

pytestmark = pytest.mark.anyio

OPENAI_NULLABLE = (
    "prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream"
    " stream_options suffix temperature top_p"
).split()
"""Of CreateCompletionRequest in OpenAI's own OpenAPI document."""


def read(**body: Any) -> CompletionRequest:
    return parse_object(CompletionRequest, json.dumps(body).encode())


@pytest.mark.parametrize("name", OPENAI_NULLABLE)
def test_null_is_the_default(name: str) -> None:
    same = {"max_tokens": None}  # Told apart from its absence, and means the same.
    assert getattr(read(**{name: None}), name) == same.get(name, getattr(read(), name))


@pytest.mark.parametrize("name", OPENAI_NULLABLE)
def test_the_document_says_so(name: str) -> None:
    field = CompletionRequest.model_json_schema()["properties"][name]
    assert {"type": "null"} in field["anyOf"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in NEUTRAL for value in NEUTRAL[name]])
def test_neutral_values_change_nothing(name: str, value: object) -> None:
    assert read(prompt="a", **{name: value}) == read(prompt="a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 1.1),
        ("repetition_penalty", True),
        ("repetition_penalty", None),
        ("top_k", 40),
        ("top_k", "-1"),
        ("min_p", 0.05),
        ("min_p", False),
        ("ignore_eos", True),
        ("ignore_eos", 0),
        ("metadata", {"a": "b"}),
        ("metadata", []),
        ("service_tier", "flex"),
        ("nonsense", None),
    ],
)
def test_others_are_unknown_fields(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is no field of this request.") as refused:
        read(**{name: value})
    assert refused.value.code == "unknown_field"


def test_obfuscation_may_be_asked_for() -> None:
    for value in (True, False):
        assert read(stream=True, stream_options={"include_obfuscation": value}).stream


async def test_there_is_no_chat(local: Local) -> None:
    error = error_of(await post(local(), "chat/completions", messages=[]))
    assert error["code"] == "not_found"
    assert "/v1/completions" in str(error["message"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "x" * 1_000_000, "n": 128, "echo": True}, "echo"),
        ({"prompt": ["a"] * 64, "n": 16, "max_tokens": 1024, "logprobs": 5}, "max_tokens"),
        (
            {"prompt": ["a b"] * 2, "best_of": 128, "n": 1, "echo": True, "logprobs": 5, "max_tokens": 0},
            "echo",
        ),
    ],
)
async def test_an_answer_has_a_bound(local: Local, body: dict[str, Any], param: str) -> None:
    app = local(max_answer_bytes=64 * 1024 * 1024 if body.get("max_tokens") != 0 else 50_000)
    error = error_of(await post(app, "completions", **body))
    assert (error["code"], error["param"]) == ("answer_too_large", param)
    assert app.engine.submitted == []


async def test_a_prediction_has_one_too(local: Local) -> None:
    app = local(max_answer_bytes=1000)
    error = error_of(await post(app, "predict", inputs=["a"] * 100, k=10))
    assert (error["code"], error["param"]) == ("answer_too_large", "k")
    assert app.engine.submitted == []
