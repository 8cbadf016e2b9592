"""Body -> request: strict types, one error at a time, its place named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.errors import HeadfirstError, InvalidRequest, MalformedBody
from service.http.request.limits import place
from service.http.request.parsing import parse, parse_object
from service.http.schemas.kserve import InferRequest
from service.http.schemas.native import ModelRequest, PredictRequest, ScoreRequest
from service.http.schemas.openai import CompletionRequest


def test_a_string_is_one_input() -> None:
    request, single = parse(PredictRequest, b'{"inputs": "Thank you"}')
    assert (request.inputs, single) == (["Thank you"], True)
    assert (request.k, request.prefix, request.model, request.timeout_ms) == (10, None, None, None)


def test_a_list_stays_in_order() -> None:
    request, single = parse(ScoreRequest, b'{"inputs": ["b", "a", ""]}')
    assert (request.inputs, single) == (["b", "a", ""], False)
    assert (request.context, request.end_of_sentence, request.per_word) == ("", True, True)


def test_place() -> None:
    assert place(3, False) == "inputs[3]"
    assert place(0, True) == "inputs"


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"Thank you",
    b"{'inputs': 'a'}",
    b'{"inputs": "a",}',
    b'{"inputs": "a"} {}',
    b'{"inputs": "a", "k": NaN}',
    b'{"inputs": "a", "k": Infinity}',
    b'{"inputs": "a", "k": -Infinity}',
    b'{"inputs": "a", "k": 01}',
    b'{"inputs": "\x00"}',
    b'{"inputs": "\xff"}',
    b'{"inputs": "\xed\xa0\x80"}',
    b'{"inputs": "\\u12"}',
    b'{"inputs": "\\ud800',
    b'{"inputs": "\\ud800", "k": NaN}',
    b'\xef\xbb\xbf{"inputs": "a"}',
    '{"inputs": "a"}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 100_000 + b'"\\ud800"' + b"]" * 100_000,
    b'{"inputs": "a", "k": ' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:30]))
def test_not_json(body: bytes) -> None:
    with pytest.raises(MalformedBody) as refused:
        parse(PredictRequest, body)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_json", None)


INVALID = [
    ("[]", None, "invalid_type"),
    ('"inputs"', None, "invalid_type"),
    ("null", None, "invalid_type"),
    ("{}", "inputs", "missing_field"),
    ('{"inputs": null}', "inputs", "invalid_type"),
    ('{"inputs": 5}', "inputs", "invalid_type"),
    ('{"inputs": {"a": 1}}', "inputs", "invalid_type"),
    ('{"inputs": ["a", 5]}', "inputs[1]", "invalid_type"),
    ('{"inputs": ["a", null]}', "inputs[1]", "invalid_type"),
    ('{"inputs": [["a"]]}', "inputs[0]", "invalid_type"),
    ('{"inputs": "a", "k": "5"}', "k", "invalid_type"),
    ('{"inputs": "a", "k": true}', "k", "invalid_type"),
    ('{"inputs": "a", "k": 5.0}', "k", "invalid_type"),
    ('{"inputs": "a", "k": 1e999}', "k", "invalid_type"),
    ('{"inputs": "a", "k": null}', "k", "invalid_type"),
    ('{"inputs": "a", "k": 0}', "k", "invalid_value"),
    ('{"inputs": "a", "k": -1}', "k", "invalid_value"),
    ('{"inputs": "a", "prefix": 5}', "prefix", "invalid_type"),
    ('{"inputs": "a", "prefix": "' + "x" * 201 + '"}', "prefix", "invalid_value"),
    ('{"inputs": "a", "model": 5}', "model", "invalid_type"),
    ('{"inputs": "a", "timeout_ms": 0}', "timeout_ms", "invalid_value"),
    ('{"inputs": "a", "timeout_ms": 1.5}', "timeout_ms", "invalid_type"),
    ('{"inputs": "a", "extra": 1}', "extra", "unknown_field"),
    ('{"inputs": "a", "' + "x" * 500 + '": 1}', "x" * 100, "unknown_field"),
    ('{"inputs": "a", "context": "b"}', "context", "unknown_field"),
    ('{"inputs": "\\ud800"}', "inputs", "invalid_unicode"),
    ('{"inputs": ["a", "b\\udc00"]}', "inputs[1]", "invalid_unicode"),
    ('{"inputs": ["a", "\\ud800\\ud800"]}', "inputs[1]", "invalid_unicode"),
    ('{"inputs": "a", "prefix": "\\ud83dx"}', "prefix", "invalid_unicode"),
    ('{"inputs": [{"deep": ["\\ud800"]}]}', "inputs[0].deep[0]", "invalid_unicode"),
    ('{"inputs": "a", "\\ud800": 1}', None, "invalid_unicode"),
    ('{"k": 5, "inputs": ["\\ud800"]}', "inputs[0]", "invalid_unicode"),
    ('["\\ud800"]', "[0]", "invalid_unicode"),
]


@pytest.mark.parametrize(("body", "param", "code"), INVALID, ids=[body[:40] for body, _, _ in INVALID])
def test_invalid(body: str, param: str | None, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(PredictRequest, body.encode())
    assert (refused.value.status, refused.value.param, refused.value.code) == (422, param, code)
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize("field", ["end_of_sentence", "per_word"])
@pytest.mark.parametrize("value", ["1", '"true"', "null", "0.0"])
def test_booleans_are_strict(field: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(ScoreRequest, f'{{"inputs": "a", "{field}": {value}}}'.encode())
    assert refused.value.param == field


def test_surrogate_pairs_are_text() -> None:
    request, _ = parse(PredictRequest, b'{"inputs": "\\ud83d\\ude00"}')
    assert request.inputs == ["\U0001f600"]


def test_null_is_absent_where_a_field_is_optional() -> None:
    request, _ = parse(PredictRequest, b'{"inputs": "a", "prefix": null, "model": null, "timeout_ms": null}')
    assert (request.prefix, request.model, request.timeout_ms) == (None, None, None)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from("ab"), scalars)
fields = st.sampled_from(["inputs", "k", "prefix", "model", "timeout_ms", "context", "per_word", "zzz"])


@given(
    st.dictionaries(fields, json_values | st.text() | st.lists(st.text(), max_size=4)),
    st.sampled_from([PredictRequest, ScoreRequest]),
)
def test_any_object_is_read_or_refused(value: dict[str, object], kind: type[ModelRequest]) -> None:
    try:
        request, single = parse(kind, json.dumps(value).encode())
    except HeadfirstError as error:
        outcome: object = error.status
    else:
        outcome = [value["inputs"]] if single else value["inputs"]
        value = {"inputs": request.inputs}
    assert outcome in (422, value.get("inputs"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        request, _ = parse(PredictRequest, body)
    except InvalidRequest as error:
        status = error.status
    else:  # Few bytes are a request, but some are.
        status = 200
        assert json.loads(body)["inputs"] == request.inputs
    assert status in (200, 400, 422)


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (CompletionRequest, {"stop": ["a"] * 5}, "stop must have at most 4 elements."),
        (InferRequest, {"inputs": []}, "inputs must have at least 1 element."),
        (InferRequest, {"inputs": [{"name": "a", "shape": [], "datatype": "", "data": []}] * 2},
         "inputs must have at most 1 element."),
        (InferRequest, {"inputs": {}}, "inputs must be a valid list."),
    ],
)  # fmt: skip
def test_how_many_elements(kind: type[CompletionRequest | InferRequest], body: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(kind, json.dumps(body).encode())
    assert caught.value.message == message
