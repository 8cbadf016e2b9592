"""docs/structure.md against the tree: every room has its row, every row its room, every path is there."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.shell import ROOT

PAGE = (ROOT / "docs" / "structure.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `((?:service|models)/[\w/]+)` \| (.*?) \|", PAGE, re.MULTILINE))
DATA = {"models/default", "service/playground"}
"""Rooms without Python."""


def packages() -> set[str]:
    """All packages below service/ and models/."""
    found = (path.parent for top in ("service", "models") for path in (ROOT / top).rglob("__init__.py"))
    return {path.relative_to(ROOT).as_posix() for path in found} - {"service", "models"}


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert set(ROWS) - DATA == packages()
    assert all((ROOT / room).is_dir() for room in ROWS)


@pytest.mark.parametrize("room", sorted(set(ROWS) - DATA))
def test_a_room_says_of_itself_what_the_page_says(room: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text("utf-8")))
    assert docstring is not None
    told = " ".join(docstring.split())
    assert told.startswith(ROWS[room].partition(". ")[0].rstrip("."))


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:service|models|tests|benchmarks|deploy|docs)/[\w./-]+)`", PAGE)))
)
def test_what_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_files_outside_rooms_are_few() -> None:
    assert len(list((ROOT / "service").glob("*.py"))) <= 4
    assert {path.name for path in Path(ROOT / "models").glob("*.py")} == {
        "__init__.py",
        "bundle.py",
        "language_model.py",
        "weightless.py",
    }
