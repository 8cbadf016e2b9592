# mypy: disable-error-code="import-not-found, untyped-decorator, attr-defined"
"""Ray Serve with `@serve.batch`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.apps.answering import Answerer


@serve.deployment(
    num_replicas=int(os.environ["BENCHMARK_WORKERS"]),
    max_ongoing_requests=1000,
    ray_actor_options={"num_cpus": 0.5},
)
class Predict:
    """A replica."""

    def __init__(self) -> None:
        self.answerer = Answerer()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=float(os.environ["BENCHMARK_WAIT_MS"]) / 1e3)
    async def answers(self, requests: list[list[str]]) -> list[dict[str, Any]]:
        """One answer a request; computed in a thread, so that the loop takes what comes meanwhile."""
        return await asyncio.to_thread(self.answerer.answers, requests)

    async def __call__(self, request: Request) -> Any:
        """One request."""
        return await self.answers((await request.json())["inputs"])


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["BENCHMARK_PORT"])}, logging_config=None
    )
    serve.run(Predict.bind(), route_prefix="/v1/predict")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    serve.shutdown()
    ray.shutdown()
