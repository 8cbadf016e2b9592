"""Where the tests of the Triton kernels run: on a GPU if there is one, else interpreted on the CPU.

To be imported before anything that imports triton: the interpreter is chosen when it is imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

if DEVICE.type == "cpu":
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("triton was imported before TRITON_INTERPRET was set: these tests cannot run")
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="triton is not installed (it comes with torch's CUDA wheels)")

if DEVICE.type == "cpu":
    # The interpreter prepares `triton.language` again for every call of a device function, although the
    # kernel that calls it did so: a third of these tests' time. triton's own functions see another module.
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang
    _prepared = {"models.kernels.triton.common", "models.kernels.triton.finish"}

    def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.fn.__module__ not in _prepared:
            _patch(self.fn)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = _call

needs_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="there is no CUDA device")
