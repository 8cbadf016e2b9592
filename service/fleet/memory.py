"""The process's memory: what is done before it serves, and when an engine has ended."""

import ctypes
import gc
import sys

import torch

SWITCH_SECONDS = 0.0005
"""How long a thread that prepares a large request may keep the event loop's and the engine's waiting.
With the usual 5 ms a prediction beside it took three times as long."""

GC_THRESHOLD = 20_000
"""New containers after which those that are young are looked through for cycles. With the usual 700, a few
hundred requests that wait are looked through a hundred times a second, for a tenth of the time."""


def settle() -> None:
    """To be called when all is loaded that lives as long as the process, before it serves."""
    # What stays is not looked through again at every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_SECONDS)


def give_back_memory() -> None:
    """Returns to the system what an ended engine had: neither the allocator nor CUDA's does that alone."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of glibc; musl has none.
        if trim is not None:
            trim(0)
