"""The memory that a call takes beyond weights and answer: nothing has an element for each row and word.

Measured in a process of its own by the peak of its resident memory, which knows of C++ and torch alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.softmax import topk
from models.softmax.adaptive_softmax import CHUNK_ELEMENTS
from models.softmax.topk import NO_WORD, SEARCH_ELEMENTS
from tests.models.kernels.memory_child import SHAPE, STATUS
from tests.support.softmaxes import make_softmax, needs_extension

MIB = 1 << 20
ROWS = 512
ALL = ROWS * SHAPE.cutoffs[-1] * 4
"""Bytes of an element for each row and word: 391 MiB."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not STATUS.exists(), reason="tells no peak of resident memory"
)


def peak(mode: str, operation: str, k: int = 10) -> int:
    arguments = [mode, operation, str(ROWS), str(k)]
    command = [sys.executable, "-m", "tests.models.kernels.memory_child", *arguments]
    # Else glibc raises the size from which it gives freed memory back, and what it keeps depends on chance.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(MIB), "MALLOC_ARENA_MAX": "1"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_extension
@pytest.mark.parametrize(("mode", "k"), [("exact", 1000), ("fast", 10)])
def test_topk_of_the_cpu_kernel(mode: str, k: int) -> None:
    # As `models.kernels.cpu.kernel` states.
    stated = 64 * SHAPE.cutoffs[0] * 4 + 4 * MIB + 16 * ROWS * k
    assert 0 < peak(mode, "topk", k) < stated < ALL / 10


@needs_extension
def test_scoring_of_the_cpu_kernel() -> None:
    assert 0 < peak("fast", "score") < 16 * MIB


def test_torch_operators() -> None:
    # Some temporaries of the size that is the limit of each.
    assert 0 < peak("torch", "topk") < 3 * 4 * SEARCH_ELEMENTS < ALL
    assert 0 < peak("torch", "score") < 4 * 4 * CHUNK_ELEMENTS


def test_rows_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax = make_softmax(20, (50, 30, 90), ((1, 8), (1, 4)), excluded=(4,))
    hidden = torch.randn(17, 20, generator=torch.Generator().manual_seed(0))
    ks = [1 + 3 * row for row in range(17)]
    allowed = [None if row % 3 else torch.arange(row, 170, 7) for row in range(17)]
    for k, some in ((5, None), (ks, None), (5, allowed), (ks, allowed)):
        monkeypatch.setattr(topk, "SEARCH_ELEMENTS", 1 << 24)
        whole = softmax.topk(hidden, k, some)
        monkeypatch.setattr(topk, "SEARCH_ELEMENTS", 90 * 4)  # four rows
        parts = softmax.topk(hidden, k, some)
        assert torch.equal(parts.ids, whole.ids)
        assert torch.equal(parts.expanded, whole.expanded)
        torch.testing.assert_close(parts.logprobs, whole.logprobs, rtol=0, atol=1e-6)
    assert (parts.ids == NO_WORD).any()
    with pytest.raises(ValueError, match="one entry for each of the 17 rows"):
        softmax.topk(hidden, [1] * 16)
    with pytest.raises(ValueError, match="k must be"):
        softmax.topk(hidden, [1] * 16 + [171])
