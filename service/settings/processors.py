"""The number of processors that this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def processors(quota: Path = _QUOTA) -> float:
    """The processors that the system lets the process run on, or the limit of its control group if lower.

    Args:
        quota: Linux' file of the group's limit, a container's (cgroup v2): "MICROSECONDS PERIOD" or
            "max PERIOD".
    """
    # macOS has no such call.
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        limit, period = quota.read_text("ascii").split()
    except (OSError, ValueError):  # No such group, or one of another version.
        return count
    return count if limit == "max" else min(count, int(limit) / int(period))
