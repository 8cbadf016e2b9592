"""Compiles every kernel for a Hopper GPU on a machine without one, and prints what came out, as JSON.

Run as a program. Launches are caught and compiled with the very arguments, alignments and options that they
would have on the card, down to machine code; nothing runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from models.kernels.triton import scorer as triton_scorer
from models.kernels.triton import topk as triton_topk
from models.kernels.triton.buffers import Tuning
from models.kernels.triton.kernel import TritonKernel
from tests.support.softmaxes import make_softmax

TARGET = GPUTarget("cuda", 90, 32)
PTXAS = Path(triton.__path__[0]) / "backends/nvidia/bin/ptxas"
TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int8: "i8",
}
ALIGNED = [["tt.divisibility", 16]]
done: set[str] = set()


def compile_instead(self: Any, *args: Any, grid: object, warmup: bool, **given: Any) -> None:
    options = {key: given.pop(key) for key in ("num_warps", "num_stages") if key in given}
    values = dict(zip(self.arg_names, args, strict=False)) | given
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int], list[list[object]]] = {}
    for i, parameter in enumerate(self.params):
        value = values[parameter.name]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + TYPES[value.dtype]
            attributes[(i,)] = ALIGNED
        else:
            signature[parameter.name] = "i32"
            if value % 16 == 0:
                attributes[(i,)] = ALIGNED
    key = repr((self.fn.__name__, signature, constants, attributes, options))
    if key in done:
        return
    done.add(key)
    source = ASTSource(self, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=TARGET, options=options)
    ptx = compiled.asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [PTXAS, "-v", "-arch=sm_90a", file.name, "-o", file.name + ".cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        Path(file.name + ".cubin").unlink()
    numbers = {
        name: int(re.search(pattern, said)[1])  # type: ignore[index]
        for name, pattern in (("registers", r"Used (\d+) reg"), ("spilled", r"(\d+) bytes spill stores"))
    }
    row = {"kernel": self.fn.__name__, "shared": compiled.metadata.shared, "wgmma": "wgmma.mma" in ptx}
    print(json.dumps(row | numbers | {"options": options, "blocks": constants}), flush=True)


def large() -> None:
    """A shape of published size, in both 16-bit types, at every kind of batch."""
    for dtype in (torch.bfloat16, torch.float16):
        kernel = TritonKernel(make_softmax(1024, [20000, 1000, 3000], [(1, 256), (1, 64)]), dtype, 256)
        hidden, targets = torch.zeros(256, 1024), torch.zeros(256, dtype=torch.int64)
        for n in (1, 64, 256):
            for rows in (hidden[:n].to(dtype), hidden[:n]):
                kernel.search.topk(rows, 10)
                kernel.scorer.target_logprobs(rows, targets[:n])
        if dtype == torch.bfloat16:
            for k in (100, 1000):
                kernel.search.topk(hidden[:1].to(dtype), k)
            for n in (1, 256):
                kernel.search.topk(hidden[:n].to(dtype), 10, [torch.arange(5)] * n)


def odd() -> None:
    """Sizes of 1, which Triton compiles in as constants, and float32 weights, which use no tensor cores."""
    for sizes, bands in (([1], []), ([70, 1], [(1, 5)]), ([100] + [9] * 30, [(20, 12), (10, 4)])):
        softmax = make_softmax(20, sizes, bands)
        for dtype, blas_rows in ((torch.float16, 0), (torch.float32, 64)):
            kernel = TritonKernel(softmax, dtype, tuning=Tuning(blas_rows=blas_rows))
            hidden, targets = torch.zeros(1, 20), torch.zeros(1, dtype=torch.int64)
            kernel.search.topk(hidden, 1)
            kernel.search.topk(hidden, 1, [torch.arange(1)])
            kernel.scorer.target_logprobs(hidden, targets)


def main() -> None:
    JITFunction.run = compile_instead
    for module in (triton_topk, triton_scorer):
        module.multiply = lambda *_: None
    {"large": large, "odd": odd}[sys.argv[1]]()


if __name__ == "__main__":
    main()
