"""Plain FastAPI: a request at a time in each process.

The endpoint is a plain function, which FastAPI runs in its pool of threads: one that computes in the event
loop would make all waiting requests wait for each other's answers.
"""

from __future__ import annotations

import os
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from benchmarks.serving.apps.answering import Answerer


class Request(BaseModel):
    """The body."""

    inputs: list[str]


def create() -> FastAPI:
    """The app, with a model of its own."""
    app = FastAPI()
    answerer = Answerer()

    @app.post("/v1/predict")
    def predict(request: Request) -> Any:
        return JSONResponse({"results": answerer.results(request.inputs)})

    return app


if __name__ == "__main__":
    uvicorn.run(
        f"{__spec__.name}:create",
        factory=True,
        host="127.0.0.1",
        port=int(os.environ["BENCHMARK_PORT"]),
        workers=int(os.environ["BENCHMARK_WORKERS"]),
        access_log=False,
        log_level="warning",
    )
