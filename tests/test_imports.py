"""Helpers of several tests are in tests/support or beside them, never in a module of tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def imported(source: str) -> Iterator[str]:
    """Each dotted name that a module imports; `*` as it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def faults(source: str) -> list[str]:
    """Imports of a module of tests or of a conftest, from anywhere in tests/, and imports of everything."""
    return [
        name
        for name in imported(source)
        if name.startswith(("tests.", "."))
        and any(part.startswith("test_") or part in ("conftest", "*") for part in name.split("."))
    ]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_a_module_of_tests(path: Path) -> None:
    assert faults(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.service.test_x import Load",
        "from tests.service import test_x",
        "import tests.service.test_x",
        "from .test_x import Load",
        "from . import test_x",
        "from tests.service.conftest import Load",
        "from tests.support.load import *",
    ],
)
def test_such_an_import_is_found(line: str) -> None:
    assert len(faults(f"def late():\n    {line}" if "*" not in line else line)) == 1
