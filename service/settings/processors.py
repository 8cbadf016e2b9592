"""How many processors this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def processors(quota: Path = _QUOTA) -> float:
    """Those that the system lets it run on, or less where its control group, a container's limit, has less.

    Args:
        quota: Linux' file of the group's limit (cgroup v2), "MICROSECONDS PERIOD" or "max PERIOD".
    """
    # macOS cannot say on which.
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        limit, period = quota.read_text("ascii").split()
    except (OSError, ValueError):  # No such group, or another version's.
        return count
    return count if limit == "max" else min(count, int(limit) / int(period))
