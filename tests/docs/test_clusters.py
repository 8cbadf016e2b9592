"""docs/clusters.md shows the newest results, and its generator puts in what it is given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.generators import DOCS, load_generator


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load_generator("generate_clusters")


def test_the_page_is_as_the_results_say(generator: ModuleType) -> None:
    text = generator.PAGE.read_text("utf-8")
    assert generator.page(text) == text, "run: python -m docs.generate_clusters"
    assert set(generator.BLOCKS) == {name for _, name, _, _ in generator._BLOCK.findall(text)}


def test_its_command_runs() -> None:
    command = "python -m docs.generate_clusters"
    assert command in (DOCS / "clusters.md").read_text("utf-8")
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "--check"], cwd=DOCS.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "docs/clusters.md is as the results say\n")


def test_the_newest_results_are_put_in(generator: ModuleType, tmp_path: Path) -> None:
    chosen = {
        "chosen": [3000, 44000],
        "predicted_ms": 20.0,
        "chosen_ms": 21.0,
        "best_of_grid": [2000, 44000],
        "best_ms": 20.5,
        "chosen_to_best": 1.024,
    }
    facts = {"processor": "abacus", "threads": 1}
    text = "before <!-- figures: grid -->\nold\n<!-- end --> after"
    assert generator.page(text, tmp_path) == text  # no results: as it is
    for date, name in (("2026-01-02", "new.txt"), ("2026-01-01", "older.txt")):
        result = {"machine": facts, "texts": {name: chosen}}
        (tmp_path / f"cutoffs-grid-{date}.json").write_text(json.dumps(result))
    made = generator.page(text, tmp_path)
    row = "| new.txt | 3,000, 44,000 | 20.0 ms | 21.0 ms | 2,000, 44,000 | 20.5 ms | +2.4% |"
    assert row in made
    assert made.startswith("before <!-- figures: grid -->")
    assert made.endswith("<!-- end --> after")
    assert "abacus, 1 thread;" in made
    assert generator.page(made, tmp_path) == made
