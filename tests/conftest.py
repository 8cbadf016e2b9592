"""What every test needs: hypothesis without a clock, one torch thread, and Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support", "tests.deploy")

# No deadline: a shared CI machine stalls now and then. Derandomized: a red run is red again.
settings.register_profile(
    "headfirst", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headfirst")

torch.set_num_threads(1)  # tiny models: threads only cost

if not torch.cuda.is_available():
    # Before anything imports triton: it chooses its interpreter when it is imported.
    os.environ["TRITON_INTERPRET"] = "1"
