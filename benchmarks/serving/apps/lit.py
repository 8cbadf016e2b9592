# mypy: disable-error-code="import-not-found, misc"
"""LitServe: batches of what is there, ZeroMQ between its processes (`fast_queue`)."""

import os
from typing import Any

import litserve

from benchmarks.serving.apps.answering import Answerer


class Predict(litserve.LitAPI):
    """The documented life of a request: decode, batch, predict, unbatch."""

    def setup(self, device: str) -> None:
        """In each worker."""
        self.answerer = Answerer()

    def decode_request(self, request) -> list[str]:  # type: ignore[no-untyped-def]
        """The texts. LitServe reads a type of `request` as a wish for another kind of body."""
        inputs: list[str] = request["inputs"]
        return inputs

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """As they are: the tensor is made of all texts at once."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[dict[str, Any]]:
        """One answer a request."""
        return self.answerer.answers(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are."""
        return output


if __name__ == "__main__":
    api = Predict(
        max_batch_size=64,
        batch_timeout=float(os.environ["BENCHMARK_WAIT_MS"]) / 1e3,
        api_path="/v1/predict",
    )
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=int(os.environ["BENCHMARK_WORKERS"]), fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCHMARK_PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
