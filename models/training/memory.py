"""How the C library manages memory while training on a CPU."""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The names that mallopt(3) has for them."""


def keep_memory() -> bool:
    """Let glibc keep freed memory; say whether it does. Results stay the same.

    A step's large temporaries, given back to the system after it, come back as pages that the kernel clears
    one by one when they are first written: with a full softmax's that took half of the step's time. The
    process holds the memory of its largest step until it ends. Elsewhere than on Linux with glibc nothing
    happens.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    done = library.mallopt(MMAP_THRESHOLD, 1 << 30), library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    return all(done)
