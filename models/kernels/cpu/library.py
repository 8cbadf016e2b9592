"""The compiled extension, loaded with ctypes: plain C functions over raw pointers, for any version of torch.

It is built when the package is installed where a C++ compiler is at hand (see pyproject.toml), as
``models/kernels/cpu/_cpu*.so``. Sources: ``models/kernels/cpu/src/``. Reads that file once; a call through
ctypes costs about a microsecond.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Final

import torch

VERSION: Final = 8

_IDS = POINTER(c_int64)
_OUT = (c_void_p,) * 4

_SIGNATURES: Final[dict[str, tuple[type | None, tuple[type, ...]]]] = {
    "hf_level": (c_char_p, (c_char_p,)),
    "hf_model_new": (c_void_p, (c_char_p, c_int, c_int64, c_int)),
    "hf_model_head": (c_int, (c_void_p, c_void_p, c_void_p, c_int, c_int, c_int)),
    "hf_model_projection": (c_int, (c_void_p, c_int, c_void_p, c_int, c_int)),
    "hf_model_cluster": (c_int, (c_void_p, c_int, c_void_p, c_void_p, c_int64, c_int, c_int)),
    "hf_model_finish": (c_int, (c_void_p, c_void_p, c_int64, c_int)),
    "hf_model_spectral": (None, (c_void_p, c_double)),
    "hf_model_free": (None, (c_void_p,)),
    "hf_topk": (
        c_int,
        (c_void_p, c_void_p, c_int, _IDS, POINTER(c_void_p), _IDS, c_int, c_int, c_int64, *_OUT),
    ),
    "hf_target_logprobs": (
        c_int,
        (c_void_p, c_void_p, c_void_p, c_int, c_int, c_int, c_void_p, c_void_p),
    ),
    "hf_lstm_new": (c_void_p, (c_char_p, c_int, c_int, c_int, *(c_void_p,) * 5, c_int)),
    "hf_lstm_new_integer": (c_void_p, (c_char_p, c_int, c_int, c_int, *(c_void_p,) * 7)),
    "hf_lstm_table": (c_int, (c_void_p, c_void_p, c_int64)),
    "hf_lstm_band": (c_int, (c_void_p, c_void_p, c_void_p, c_int64, c_int, c_int)),
    "hf_lstm_vectors": (c_int, (c_void_p, c_void_p, c_void_p, c_float, c_int64, c_int)),
    "hf_lstm_embed": (c_int, (c_void_p, c_void_p, c_int, c_void_p)),
    "hf_lstm_run": (c_int, (*(c_void_p,) * 3, c_int, c_int, *(c_void_p,) * 5, c_int64, c_void_p, c_int)),
    "hf_lstm_free": (None, (c_void_p,)),
}


class KernelError(RuntimeError):
    """The extension cannot be used; the message says why, in one line."""


@cache
def load(directory: Path = Path(__file__).parent) -> ctypes.CDLL:
    """The extension of `directory`.

    Raises:
        KernelError: it was not built, does not load here, or belongs to another version of these sources.
    """
    files = sorted(directory.glob("_cpu*.so"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise KernelError("the C++ extension was not built (no compiler when Headfirst was installed)")
    try:
        library = ctypes.CDLL(str(files[-1]))
        version = library.hf_version()
    except (OSError, AttributeError) as error:
        raise KernelError(f"the C++ extension does not load: {error}") from error
    if version != VERSION:
        raise KernelError(
            f"the C++ extension has interface version {version}, not {VERSION}: install Headfirst again"
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def best_level(name: str = "") -> str:
    """The best instruction set of this processor, or `name` where it has that.

    Raises:
        KernelError: no extension, or not on this processor.
    """
    level = load().hf_level(name.encode())
    if level is None:
        raise KernelError(f"this processor has no {name}, or the extension was built without it")
    return str(level.decode())


def thread_count() -> int:
    """As many threads as torch uses, at most one for each processor that this process may run on."""
    threads = torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        threads = min(threads, len(os.sched_getaffinity(0)))
    return threads
