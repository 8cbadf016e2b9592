"""Fixtures of the tests of models/."""

from __future__ import annotations

import pytest

from models.vocabulary import END, UNKNOWN, Vocabulary
from tests.models.words import WORDS


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """`WORDS` after the two special words."""
    return Vocabulary.from_words([UNKNOWN, END, *WORDS])
