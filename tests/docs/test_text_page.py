"""docs/text.md: its tables are true, and its blocks print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.text.words import words
from tests.docs import shell
from tests.docs.generators import DOCS

PAGE = DOCS / "text.md"
_CODE = r"(`+)\s?(.*?)\s?"
ROWS = [
    (typed, tokens)
    for _, typed, _, tokens in re.findall(
        rf"^\| {_CODE}\1 \| (`+)(.*?)\3 \|", PAGE.read_text("utf-8"), re.MULTILINE
    )
]
BLOCKS = shell.blocks(PAGE)


def test_there_are_examples() -> None:
    assert len(ROWS) > 30
    assert len(BLOCKS) == 8


@pytest.mark.parametrize(("typed", "tokens"), ROWS)
def test_an_example(typed: str, tokens: str) -> None:
    assert words(typed) == tokens.split()


@pytest.mark.parametrize("i", range(0, len(BLOCKS), 2))
def test_a_block_prints_what_follows_it(i: int, tmp_path: Path) -> None:
    language, code = BLOCKS[i]
    assert (language, BLOCKS[i + 1][0]) == ("python", "")
    assert shell.run(language, code, tmp_path) == BLOCKS[i + 1][1]
