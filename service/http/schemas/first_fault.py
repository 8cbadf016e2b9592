"""A wrong request costs no more than a right one: it is checked as far as its first fault.

pydantic collects all faults, and makes an object of each; one alone is told. Lists end with their first wrong
element by pydantic's `FailFast`; fields that do not exist, and mappings, are cut down here to the first fault
before pydantic sees them. So its texts stay what they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, model_validator


def keep_one_unknown(kind: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    """The fields that `kind` has, and the first of those that it has not."""
    known = kind.model_fields
    first = next((name for name in value if name not in known), None)
    return {name: each for name, each in value.items() if name in known or name == first}


class RequestFields(BaseModel):
    """Base of the objects of a request. All of them forbid unknown fields.

    For `ModelRequest`, the most frequent one, `service.http.request.parsing` does the same sooner.
    """

    @model_validator(mode="before")
    @classmethod
    def _keep_one_unknown(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() <= cls.model_fields.keys():
            return value
        return keep_one_unknown(cls, value)


def first_fault(is_right: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """For a `BeforeValidator` of a mapping: the first of its items that is not right alone, or all."""

    def cut(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        wrong = next(((name, each) for name, each in value.items() if not is_right(each)), None)
        return value if wrong is None else {wrong[0]: wrong[1]}

    return cut
