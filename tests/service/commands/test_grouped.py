"""Commands whose options are fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from service.commands.shared.grouped import grouped

heard: list[object] = []


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="How wide.")] = 3
    tall: Annotated[bool, typer.Option("--tall", help="Whether it is tall.")] = False


@dataclass(frozen=True)
class Name:
    name: Annotated[str, typer.Option("--called", help="What it is called.")]


@grouped
def build(what: Annotated[str, typer.Argument(help="What to build.")], size: Size, name: Name) -> None:
    """Builds something."""
    heard.append((what, size, name))


def invoke(*arguments: str) -> Result:
    heard.clear()
    app = typer.Typer()
    app.command()(build)
    return CliRunner().invoke(app, arguments)


def test_options_reach_their_groups() -> None:
    assert invoke("house", "--width", "5", "--tall", "--called", "x").exit_code == 0
    assert heard == [("house", Size(5, True), Name("x"))]


def test_defaults_are_those_of_the_fields() -> None:
    assert invoke("house", "--called", "x").exit_code == 0
    assert heard == [("house", Size(), Name("x"))]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("house",), "--called"),
        (("--called", "x"), "what"),
        (("house", "--called", "x", "--width", "0"), "--width"),
    ],
)
def test_what_is_missing_or_out_of_range_is_refused(arguments: tuple[str, ...], fault: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert fault in result.stderr
    assert heard == []


def test_help_lists_the_options_in_the_order_of_the_groups() -> None:
    text = invoke("--help").stdout
    assert "Builds something." in text
    words = ["What to build.", "--width", "How wide.", "--tall", "--called", "What it is called."]
    assert [text.index(word) for word in words] == sorted(text.index(word) for word in words)
