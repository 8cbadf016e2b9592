"""The Triton kernels compile for a Hopper GPU, to tensor-core code without spills, without a GPU at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton is not installed (it comes with torch's CUDA wheels)")

PRODUCTS = {"head_kernel", "tail_kernel", "lse_kernel", "tail_lse_kernel"}
OTHERS = {
    "stats_kernel",
    "select_kernel",
    "gather_kernel",
    "finish_kernel",
    "section_kernel",
    "combine_kernel",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kernel_compiles_for_hopper() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.models.kernels.triton_compile"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in rows} == PRODUCTS | OTHERS
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["shared"] <= 227 << 10, row
        assert row["wgmma"] == (row["kernel"] in PRODUCTS), row
