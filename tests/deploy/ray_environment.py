"""Ray in an environment of its own: it is no dependency of the project."""

from __future__ import annotations

from pathlib import Path

from benchmarks.serving.environments import cache_folder, python_of
from tests.deploy.tools import DEPLOY, ROOT
from tests.support.server_process import clean_environment


def ray_python() -> Path:
    """The interpreter that has what deploy/ray/requirements.txt names; installed at the first use."""
    return python_of(cache_folder(), "ray", ["--requirement", str(DEPLOY / "ray" / "requirements.txt")])


def environment() -> dict[str, str]:
    """Without settings of ours; models and service are found in this checkout.

    Ray gives a proxy up that needs more than 5 s to start, which on a busy machine it does.
    """
    patient = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120", "RAY_USAGE_STATS_ENABLED": "0"}
    return clean_environment(PYTHONPATH=str(ROOT), **patient)
