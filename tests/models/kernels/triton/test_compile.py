"""The Triton kernels compile for a Hopper GPU, to tensor-core code without spills, without a GPU at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed (it comes with torch's CUDA wheels)")

PRODUCTS = {"head_kernel", "tail_kernel", "lse_kernel", "tail_lse_kernel"}
OTHERS = {
    "stats_kernel",
    "select_kernel",
    "gather_kernel",
    "pick_kernel",
    "rescore_kernel",
    "rank_kernel",
    "section_kernel",
    "combine_kernel",
}


def compile_kernels(which: str) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.models.kernels.triton.compile_kernels", which]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in rows} == PRODUCTS | OTHERS
    assert all(row["shared"] <= 227 << 10 for row in rows)
    return rows


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_published_sizes_compile_to_tensor_core_code_without_spills() -> None:
    for row in compile_kernels("large"):
        assert row["spilled"] == 0, row
        assert row["wgmma"] == (row["kernel"] in PRODUCTS), row


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_odd_sizes_compile() -> None:
    compile_kernels("odd")
