"""Run as a program: prints the peak of the memory that one call takes beyond what was there, in bytes.

``python -m tests.models.kernels.memory_child exact|fast|torch topk|score ROWS K``
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

from models.benchmarking.shapes import Shape, rows, synthetic
from models.kernels.cpu.kernel import CpuKernel

SHAPE = Shape(128, (20_000, 60_000, 200_000), (64, 32))
STATUS = Path("/proc/self/status")


def status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@torch.inference_mode()
def main() -> None:
    mode, operation, n, k = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    # Each of torch's threads has buffers of its own, which come and go as the threads happen to run.
    torch.set_num_threads(1 if mode == "torch" else 2)
    softmax = synthetic(SHAPE)
    # Every row opens both clusters and has words of them among its best.
    hidden = rows(softmax, {"xx": 1.0}, n, k)
    targets = torch.arange(n) * 7919 % SHAPE.cutoffs[-1]
    kernel = softmax if mode == "torch" else CpuKernel(softmax).in_mode("fast" if mode == "fast" else "exact")

    def call(some: slice) -> object:
        if operation == "topk":
            return kernel.topk(hidden[some], k)
        return kernel.target_logprobs(hidden[some], targets[some])

    call(slice(0, 1))  # starts threads, loads what is loaded once
    ctypes.CDLL(None).malloc_trim(0)  # else the call could reuse freed memory, and its need would not show
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    found = call(slice(0, n))
    print(status("VmHWM") - before)
    del found


if __name__ == "__main__":
    main()
