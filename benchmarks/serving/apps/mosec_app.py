# mypy: disable-error-code="import-not-found, misc"
"""Mosec: a Rust front, Python workers behind it, batches of what is there."""

from __future__ import annotations

import os
from typing import Any

import mosec

from benchmarks.serving.apps.answering import Answerer


class Predict(mosec.Worker):
    """JSON in and out is the default."""

    def __init__(self) -> None:
        self.answerer = Answerer()

    def forward(self, data: Any) -> Any:
        """One answer a request: `data` is a list where batches are allowed."""
        return self.answerer.answers([request["inputs"] for request in data])


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(
        Predict,
        num=int(os.environ["BENCHMARK_WORKERS"]),
        max_batch_size=64,
        max_wait_time=int(os.environ["BENCHMARK_WAIT_MS"]),
        route="/v1/predict",
    )
    server.run()
