"""The GPU benchmark: without Triton it says what it needs, and with it a dry run goes from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TRITON = """
import runpy, sys
sys.modules["triton"] = None
sys.argv = ["benchmarks.gpu", "--dry"]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def test_without_triton_it_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks.gpu needs Triton, which comes with torch's CUDA wheels; pip install triton\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_writes_every_section(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed (it comes with torch's CUDA wheels)")
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
