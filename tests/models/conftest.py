"""Fixtures of the tests of models/."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.text.tokenizer import END, UNKNOWN
from models.text.vocabulary import Vocabulary
from tests.support.tiny import tiny_bundle
from tests.support.words import WORDS


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """`WORDS` after the two special words."""
    return Vocabulary.from_words([UNKNOWN, END, *WORDS])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved tiny bundle."""
    return tiny_bundle(tmp_path)
