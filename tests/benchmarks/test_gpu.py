"""The GPU benchmark without Triton: it says what it needs. Its dry run is tested beside the kernels."""

from __future__ import annotations

import subprocess
import sys

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
