"""One instruction set for all that is measured: ours by its level, torch's by the variables that it reads.

Torch's own loops obey ``ATEN_CPU_CAPABILITY``, the products of its libraries ``ONEDNN_MAX_CPU_ISA`` (bfloat16
and 8 bits) and ``MKL_ENABLE_INSTRUCTIONS`` (float32, which that library obeys on Intel's processors and
otherwise decides itself). All are read once, when torch is imported or first called.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

VARIABLES: Final[dict[str, dict[str, str]]] = {
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "scalar": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}


class ForceError(RuntimeError):
    """Torch has been imported already, so that it would not obey."""


def force(level: str) -> None:
    """Sets torch's variables; before torch is imported.

    Raises:
        ForceError: it has been.
    """
    wanted = VARIABLES[level]
    if "torch" in sys.modules and any(os.environ.get(name) != value for name, value in wanted.items()):
        variables = " ".join(f"{name}={value}" for name, value in wanted.items())
        raise ForceError(f"torch is loaded already; set {variables} before it is")
    os.environ.update(wanted)


def forced(level: str) -> dict[str, Any]:
    """What results say of it: our level, torch's own word for its loops', and the variables that are set."""
    import torch

    return {
        "ours": level,
        "torch": torch.backends.cpu.get_cpu_capability(),
        "variables": {name: os.environ[name] for name in VARIABLES["avx2"] if name in os.environ},
    }
