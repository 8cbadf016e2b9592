"""What is wrong with a bundle is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from models.bundle import Bundle, BundleError

Break = Callable[[Path], object]
"""Breaks the bundle at a path."""


def each(broken: Mapping[str, tuple[Break, str]]) -> pytest.MarkDecorator:
    """A test for each way to break a bundle, and what is told of it, by name."""
    return pytest.mark.parametrize(("break_it", "message"), broken.values(), ids=broken.keys())


def assert_refused(path: Path, message: str) -> None:
    """Loading the bundle raises `message` (a pattern), in one line that names its path and is not long."""
    with pytest.raises(BundleError, match=message) as raised:
        Bundle.load(path)
    line = str(raised.value)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 300 + len(str(path))
