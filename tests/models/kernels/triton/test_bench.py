"""The GPU benchmark runs from end to end: on a machine without a GPU at tiny sizes, interpreted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed (it comes with torch's CUDA wheels)")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_writes_every_section(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--out", str(tmp_path)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert {"ceilings", "topk", "score", "tune topk", "tune score"} <= sections.keys()
    assert all(row["exit_status"] == 0 for row in sections["preparation"])
    assert all(row["same_ids"] == 1 for row in sections["topk"])
    assert all(row["error"] <= 1e-3 for row in (*sections["topk"], *sections["score"]))
    assert (tmp_path / "gpu.md").read_text().startswith("# GPU results")
