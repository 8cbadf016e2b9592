"""A body of wrong elements is refused by its first fault, in about the time that its JSON takes to read."""

import json
import time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from service.contract.errors import InvalidRequest
from service.http.request.parsing import parse, parse_object
from service.http.schemas import kserve, native, openai
from service.http.schemas.first_fault import RequestFields

COUNT = 100_000
MOST_SECONDS = 0.1
"""Beside three times what its JSON takes to read, on a busy machine; all faults took a second and more."""

KINDS: dict[type[BaseModel], dict[str, Any]] = {
    native.PredictRequest: {"inputs": ["a"]},
    native.ScoreRequest: {"inputs": ["a"]},
    native.ReloadRequest: {},
    openai.CompletionRequest: {},
    openai.TokenizeRequest: {"prompt": "a"},
    openai.DetokenizeRequest: {"tokens": [3]},
    kserve.InferRequest: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
}


def read(kind: type[BaseModel], body: bytes) -> object:
    if issubclass(kind, native.ModelRequest):
        return parse(kind, body)
    return parse_object(kind, body)


def fault(kind: type[BaseModel], value: dict[str, Any]) -> InvalidRequest:
    body = json.dumps(value).encode()
    begun = time.thread_time()
    from_json(body)
    started = time.thread_time()
    with pytest.raises(InvalidRequest) as refused:
        read(kind, body)
    assert time.thread_time() - started < MOST_SECONDS + 3 * (started - begun)
    return refused.value


def all_requests() -> set[type[BaseModel]]:
    """Every class of a request's object, by what is made of the routes' schemas."""
    modules = (native, openai, kserve)
    return {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, BaseModel)
        and each.model_config.get("extra") == "forbid"
    } - {RequestFields}


def test_all_objects_of_requests_end_with_their_first_fault() -> None:
    others = {each for each in all_requests() if not issubclass(each, RequestFields)}
    assert all(issubclass(each, native.ModelRequest) for each in others)
    assert set(KINDS) <= all_requests()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_many_unknown_fields(kind: type[BaseModel]) -> None:
    error = fault(kind, KINDS[kind] | {f"x{i}": 1 for i in range(COUNT)})
    assert (error.message, error.code, error.param) == (
        "x0 is no field of this request.",
        "unknown_field",
        "x0",
    )


def test_a_neutral_field_hides_no_unknown_one() -> None:
    error = fault(openai.CompletionRequest, {"top_k": -1, "bogus": 1, "other": 2})
    assert (error.code, error.param) == ("unknown_field", "bogus")


WRONG = {"numbers": [1] * COUNT, "a mapping": {str(i): None for i in range(COUNT)}}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in KINDS for field in kind.model_fields],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_many_wrong_elements(kind: type[BaseModel], field: str, wrong: str) -> None:
    """The first fault's text is the one of a body that has this fault alone."""
    value = WRONG[wrong]
    one = value[:1] if isinstance(value, list) else {"0": None}
    try:
        read(kind, json.dumps(KINDS[kind] | {field: one}).encode())
    except InvalidRequest as error:
        expected = error.message, error.code, error.param
    else:
        return  # Right for the shape alone; the route has its limits.
    found = fault(kind, KINDS[kind] | {field: value})
    assert (found.message, found.code, found.param) in (expected, (found.message, "invalid_value", field))


@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_many_wrong_parts_of_a_tensor(place: str) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    value: dict[str, Any] = {"inputs": [tensor]}
    if place == "inputs":
        for wrong in ({"shape": ["a"] * COUNT}, {f"x{i}": 1 for i in range(COUNT)}):
            assert fault(kserve.InferRequest, {"inputs": [tensor | wrong]}).code in (
                "invalid_type",
                "unknown_field",
            )
    value["outputs"] = [{"name": 1}] * COUNT
    assert fault(kserve.InferRequest, value).param == "outputs[0].name"


@pytest.mark.parametrize(
    "value",
    [
        {"logit_bias": {str(i): "a" for i in range(COUNT)}},
        {"logit_bias": {str(i): 101 for i in range(COUNT)}},
    ],
)
def test_many_wrong_biases(value: dict[str, Any]) -> None:
    found = fault(openai.CompletionRequest, value)
    assert found.param == "logit_bias.0"


def test_a_late_half_of_a_surrogate_pair() -> None:
    body = b'{"inputs": [' + b'"a",' * COUNT + b'"\\ud800"]}'
    started = time.thread_time()
    with pytest.raises(InvalidRequest, match="surrogate") as refused:
        parse(native.PredictRequest, body)
    assert time.thread_time() - started < 5 * MOST_SECONDS
    assert refused.value.param == f"inputs[{COUNT}]"


def test_pydantic_alone_would_collect_all() -> None:
    class Plain(BaseModel):
        inputs: list[str]

    with pytest.raises(ValidationError) as collected:
        Plain.model_validate({"inputs": [1] * 100})
    assert collected.value.error_count() == 100
