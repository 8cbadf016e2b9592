"""The models of `--model`: a bundle and a name for each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_MODELS = 32
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A bundle's directory, and the name by which requests ask for it.

    The name is settled when the server starts. What is at the path may change; a reload reads it again.
    """

    name: str
    path: Path

    @classmethod
    def parse(cls, value: str) -> "ModelSource":
        """Reads `NAME=PATH`, or `PATH`, whose name is that of the directory.

        What stands before a `=` is a name unless there is a slash in it: `./a=b` is a path.

        Raises:
            ValueError: the name or the path is empty, or the name too long or not printable.
        """
        name, separator, path = value.partition("=")
        if not separator or "/" in name:
            name, path = "", value
        elif not name.strip():
            raise ValueError(f"there is no name before the = of {value!r}")
        if not path.strip():
            raise ValueError("a model's path must not be empty")
        name = name.strip() or Path(path.strip()).resolve().name
        if len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise ValueError(f"a model's name has at most {MAX_NAME_CHARS} characters, all of them printable")
        return cls(name, Path(path.strip()))


def split_list(value: str) -> list[str]:
    """The values of a list in one string: separated by commas, or as JSON."""
    if value.lstrip().startswith("["):
        try:
            values = json.loads(value)
        except ValueError:
            values = None  # A path may start so.
        if isinstance(values, list) and all(isinstance(each, str) for each in values):
            return values
    return value.split(",")


def parse_sources(values: Sequence[str], only_name: str | None, default: Path) -> tuple[ModelSource, ...]:
    """The models to be served, the first one being that of requests which name none.

    Args:
        values: what `--model` was given; `default` is served if there are none.
        only_name: the name of a single model, where `values` gives it none.

    Raises:
        ValueError: as `ModelSource.parse`; also for two models of one name, too many of them, and a name that
            does not say whose it is.
    """
    sources = tuple(map(ModelSource.parse, values)) or (ModelSource(default.name, default),)
    if len(sources) > MAX_MODELS:
        raise ValueError(f"--model can be given {MAX_MODELS} times at most")
    if only_name is not None:
        if len(sources) > 1:
            raise ValueError("--model-name is for one --model; give several their names as NAME=PATH")
        sources = (ModelSource(only_name, sources[0].path),)
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models have the name {name!r}; give them others as NAME=PATH")
    return sources
