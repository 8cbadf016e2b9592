# mypy: disable-error-code="import-not-found, untyped-decorator"
"""BentoML: a batchable API, which merges the lists of several requests.

Such an API's answer is the list itself: ours without ``{"results": ...}`` around it.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml

from benchmarks.serving.apps.answering import Answerer


@bentoml.service(
    workers=int(os.environ["BENCHMARK_WORKERS"]),
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Predict:
    """One method."""

    def __init__(self) -> None:
        self.answerer = Answerer()

    @bentoml.api(
        route="/v1/predict",
        batchable=True,
        max_batch_size=64,
        max_latency_ms=int(os.environ["BENCHMARK_WAIT_MS"]),
    )
    def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
        """The results of all texts of all merged requests."""
        return self.answerer.results(inputs)
