"""Commands with many options: a dataclass for those that belong together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer that has an option for each field of the dataclasses that `command` takes.

    Options come in the order of `command`'s parameters and of their fields; no two may have one name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: hints[name] for name in inspect.signature(command).parameters if is_dataclass(hints[name])
    }

    def parameters() -> Iterator[inspect.Parameter]:
        for name, parameter in inspect.signature(command).parameters.items():
            if name not in groups:
                yield parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
                continue
            types = get_type_hints(groups[name], include_extras=True)
            for field in fields(groups[name]):
                default = parameter.empty if field.default is MISSING else field.default
                yield inspect.Parameter(
                    field.name, parameter.KEYWORD_ONLY, default=default, annotation=types[field.name]
                )

    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    signature = inspect.Signature(list(parameters()))
    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = signature  # type: ignore[attr-defined]  # `inspect` and typer read it
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return run
