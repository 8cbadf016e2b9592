"""An HTTP worker: the app on a listening socket of its own, around an engine in another process."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator, Sequence
from pathlib import Path

import uvicorn

from models.bundle import Bundle
from service import wire
from service.app import HeadfirstApp, create_app
from service.loading import describe, settle
from service.remote_engine import RemoteEngine
from service.schemas import ModelCard
from service.served_model import ServedModel
from service.server import Server
from service.settings import Settings
from service.worker_metrics import WorkerMetrics

logger = logging.getLogger("headfirst")

SAMPLES_SECONDS = 5.0
"""How long a scrape waits for the engine's numbers."""

SOCKET = "engine.sock"
"""The engine's listening socket in the private directory."""


class WorkerServer(Server):
    """`Server` that leaves to the supervisor what is to be said once, and what to do about signals."""

    def __init__(self, app: HeadfirstApp, engine: RemoteEngine, drain_timeout: float) -> None:
        super().__init__(app, engine, drain_timeout)
        self._remote = engine
        self._link: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM drains; however often it comes, the supervisor decides when that takes too long."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal, signal.SIGTERM)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Connects to the engine and listens."""
        self._link = asyncio.get_running_loop().create_task(self._remote.run())
        await uvicorn.Server.startup(self, sockets)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._draining is None:
            super()._on_signal(number)


def run_worker(
    settings: Settings,
    bundle: Bundle,
    served: ServedModel,
    listening: socket.socket,
    directory: Path,
    name: str,
) -> int:
    """The whole life of the process; returns its exit status.

    Args:
        bundle: without weights.
        served: what else there is to tell about the model.
        directory: private to our processes: sockets and metrics.
        name: the same for a worker that takes another's place.
    """
    # What one process may run at once is shared among the workers.
    limit = -(-settings.max_concurrent_requests // settings.http_workers)
    settings = settings.model_copy(update={"max_concurrent_requests": limit})
    engine = RemoteEngine(str(directory / SOCKET))
    metrics = WorkerMetrics(bundle.config.n_clusters, directory, name, lambda: _samples(engine))
    model = ModelCard.model_validate_json(served.card)
    describe(metrics, model)
    app = create_app(settings, bundle, engine, metrics, model, served.examples)
    # Takes some 20 ms, which the first reader of /docs would make everybody else wait.
    app.openapi()
    settle()
    WorkerServer(app, engine, settings.drain_timeout).run(sockets=[listening])
    return 0


def _samples(engine: RemoteEngine) -> Sequence[wire.Sample]:
    try:
        return engine.samples().result(SAMPLES_SECONDS)
    except TimeoutError:
        logger.error("the engine process did not tell its metrics; the page is without them")
        return ()
