"""The TOML file that tells `models.importers.torch_adaptive.checkpoint` what a checkpoint's files hold."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.config.tokenization import Jieba, Moses, Ours, Tokenization, Whitespace
from models.importers.base import CheckpointError

MAX_TOML_BYTES: Final = 1 << 20


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], Field(min_length=1), BeforeValidator(_as_list)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Files(_Table):
    """Names of the files beside the TOML file."""

    weights: Names
    vocabulary: str


class Modules(_Table):
    """Names in the state dictionary."""

    embedding: str
    lstm: Names
    softmax: str
    output: str | None = None
    root: str | None = None
    ignore: list[str] = []


class WordsTable(_Table):
    """What sets some words apart."""

    unknown: str = "<unk>"
    end: str
    start: str | None = None
    special: list[str] = []
    tokenization: Literal["whitespace", "moses", "jieba", "ours"] = "whitespace"
    lowercase: bool = False

    def kind(self) -> Tokenization:
        """How text becomes words. Raises CheckpointError."""
        match self.tokenization:
            case "whitespace":
                return Whitespace(lowercase=self.lowercase)
            case "moses":
                return Moses(lowercase=self.lowercase)
        if self.lowercase:
            raise CheckpointError(f"words.lowercase does not go with tokenization {self.tokenization!r}")
        return Jieba() if self.tokenization == "jieba" else Ours()


class Sizes(_Table):
    """What the weights must have; and `embedding_scale`, which they do not tell."""

    vocabulary: int | None = None
    embedding: int | None = None
    units: int | None = None
    layers: int | None = None
    projection: int | None = None
    cutoffs: list[int] | None = None
    div_value: float | None = None
    embedding_scale: float = 1.0


class Description(_Table):
    """The TOML file."""

    files: Files
    modules: Modules
    words: WordsTable
    sizes: Sizes = Sizes()


def find(source: Path) -> Path:
    """The TOML file at or in `source`. Raises CheckpointError."""
    if source.is_file():
        return source
    found = sorted(source.glob("*.toml"))
    if len(found) != 1:
        raise CheckpointError(f"{source}: holds {len(found)} TOML files; name one of them as SOURCE")
    return found[0]


def describe(toml: Path) -> Description:
    """The description in a TOML file. Raises CheckpointError."""
    try:
        if toml.stat().st_size > MAX_TOML_BYTES:
            raise CheckpointError(f"{toml}: too large for a description")
        return Description.model_validate(tomllib.loads(toml.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{toml}: {place}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{toml}: {error}") from None


def beside(toml: Path, name: str) -> Path:
    """A file that the TOML names, inside its directory: the TOML may come from a stranger."""
    path = toml.parent / name
    if not path.resolve().is_relative_to(toml.parent.resolve()):
        raise CheckpointError(f"{toml}: {name} is not beside it")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    return path
