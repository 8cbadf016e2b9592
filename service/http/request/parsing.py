"""Parses a request body; names the faulty field."""

import json
import re
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from service.contract.errors import InvalidRequest, MalformedBody
from service.http.schemas.first_fault import keep_one_unknown
from service.http.schemas.native import ModelRequest

MAX_NAMED_CHARS = 100
"""A field's name is echoed in an error up to this length."""

_SURROGATE = re.compile("[\ud800-\udfff]")

R = TypeVar("R", bound=ModelRequest)
B = TypeVar("B", bound=BaseModel)


def parse(kind: type[R], body: bytes) -> tuple[R, bool]:
    """Reads a request from a body.

    Returns:
        The request, and whether its `inputs` was a single string.

    Raises:
        MalformedBody: the body is not one JSON document in UTF-8 (it holds NaN or Infinity, for example).
        InvalidRequest: a field is missing, unknown or of the wrong type, or a string holds a lone surrogate.
    """
    value = _read(body)
    single = isinstance(value.get("inputs"), str)
    if single:
        value["inputs"] = [value["inputs"]]
    if not value.keys() <= kind.model_fields.keys():
        value = keep_one_unknown(kind, value)
    return _check(kind, value), single


def parse_object(kind: type[B], body: bytes) -> B:
    """Reads a body of any other kind; raises as `parse`."""
    return _check(kind, _read(body))


def _read(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _unreadable(body, str(error)) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_type")
    return value


def _check(kind: type[B], value: dict[str, Any]) -> B:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise _invalid(fault, texts=issubclass(kind, ModelRequest)) from None


def _invalid(fault: ErrorDetails, *, texts: bool) -> InvalidRequest:
    """What is wrong with a field; `texts`: whether `inputs` are texts, not tensors."""
    param = _path(fault["loc"])
    kind = fault["type"]
    if kind == "extra_forbidden":
        return InvalidRequest(f"{param} is no field of this request.", param=param, code="unknown_field")
    if kind == "missing":
        return InvalidRequest(f"{param} is missing.", param=param, code="missing_field")
    if texts and fault["loc"] == ("inputs",):
        return InvalidRequest(
            "inputs must be a string or a list of strings.", param=param, code="invalid_type"
        )
    if kind in ("too_short", "too_long"):
        word, bound = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        number = fault["ctx"][bound]
        return InvalidRequest(
            f"{param} must have {word} {number} element{'s' * (number != 1)}.",
            param=param,
            code="invalid_value",
        )
    if kind == "json_invalid":
        return InvalidRequest(f"{param} must be a string of JSON.", param=param, code="invalid_value")
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    requirement = fault["msg"].removeprefix("Input should be ").removeprefix("String should have ")
    return InvalidRequest(f"{param} must be {requirement}.", param=param, code=code)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path[:MAX_NAMED_CHARS]


def _unreadable(body: bytes, reason: str) -> InvalidRequest:
    """Why a body is not JSON; a lone surrogate is legal JSON, but not text, so it is the field's fault."""
    if "surrogate" in reason or "hex escape" in reason:
        try:
            path = _find_surrogate(json.loads(body, parse_constant=_refuse_constant), "")
        except (ValueError, RecursionError):
            path = None
        if path is not None:
            message = f"{path or 'The body'} is not valid Unicode: it holds half of a surrogate pair."
            return InvalidRequest(message, param=path or None, code="invalid_unicode")
    return MalformedBody(f"The body is not valid JSON: {reason}.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _find_surrogate(value: Any, path: str) -> str | None:
    """The path of the first string that is not valid Unicode, a key's being that of its object."""
    if isinstance(value, str):
        return path if _SURROGATE.search(value) else None
    if isinstance(value, list):
        for index, child in enumerate(value):
            # A path is made only for what has parts, or is the one that is looked for.
            if isinstance(child, str) and not _SURROGATE.search(child):
                continue
            found = _find_surrogate(child, f"{path}[{index}]")
            if found is not None:
                return found
    elif isinstance(value, dict):
        for key, child in value.items():
            if _SURROGATE.search(key):
                return path
            found = _find_surrogate(child, (f"{path}.{key}" if path else key)[:MAX_NAMED_CHARS])
            if found is not None:
                return found
    return None
