"""How many processors there are."""

import os
from pathlib import Path

import pytest

from service.settings.processors import processors
from service.settings.settings import Settings

ALL = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", ALL),
        ("50000 100000\n", 0.5),
        ("999900000 100000\n", ALL),
        ("", ALL),
        ("nonsense", ALL),
    ],
)
def test_a_containers_limit_counts(tmp_path: Path, limit: str, expected: float) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    assert processors(file) == expected


def test_without_a_control_group(tmp_path: Path) -> None:
    assert processors(tmp_path / "none") == ALL


@pytest.mark.parametrize(("count", "expected"), [(0.5, 0), (1.5, 0), (2.0, 1), (64.0, 1)])
def test_the_default_number_of_workers(monkeypatch: pytest.MonkeyPatch, count: float, expected: int) -> None:
    monkeypatch.delenv("HEADFIRST_HTTP_WORKERS", raising=False)
    monkeypatch.setattr("service.settings.settings.processors", lambda: count)
    assert Settings().workers == expected
    assert Settings(http_workers=3).workers == 3
    assert Settings(http_workers=0).workers == 0
