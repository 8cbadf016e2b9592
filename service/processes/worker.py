"""An HTTP worker: the app on a listening socket of its own, around engines in another process."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator, Sequence
from pathlib import Path

from models.bundle import Bundle
from service.contract.errors import Unavailable
from service.fleet.memory import settle
from service.fleet.served import Catalog, Served
from service.http.app import HeadfirstApp, create_app
from service.http.request.context import Context
from service.http.server import Server
from service.http.telemetry.tracing import open_tracing
from service.link.announcement import Announcement
from service.link.engine_link import EngineLink
from service.link.remote_engine import RemoteEngine
from service.metrics.samples import Sample
from service.metrics.workers import WorkerMetrics
from service.processes.children import CRASHED
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

SAMPLES_SECONDS = 5.0
"""How long a scrape waits for the engine's numbers."""

SOCKET = "engine.sock"
"""The engine's listening socket in the private directory."""


Known = Sequence[tuple[Announcement, Bundle]]
"""Models of the engine process, and their vocabularies."""


class Follower:
    """Gives the app the models that the engine process announces.

    Args:
        known: models whose vocabularies are in memory.
    """

    def __init__(self, context: Context, known: Known) -> None:
        self._context = context
        self._known = known

    async def switch(self, models: Sequence[tuple[Announcement, RemoteEngine]]) -> None:
        """Reads the vocabularies that are new; then new requests ask these models."""
        known, served = [], []
        for told, engine in models:
            bundle = next((bundle for model, bundle in self._known if told.tokenizes_as(model)), None)
            if bundle is None:
                bundle = await asyncio.to_thread(told.bundle)
            known.append((told, bundle))
            served.append(Served(bundle, engine, told.model_card(), told.examples))
        self._known = known
        await self._context.switch(served)

    async def finish(self) -> None:
        """Returns when no request is left that asks what was there before the last `switch`."""
        await self._context.finish()


class WorkerServer(Server):
    """`Server` on an engine link. Its signals come from the supervisor, which decides about a second one."""

    def __init__(
        self, app: HeadfirstApp, engine: EngineLink, follower: Follower, drain_timeout: float
    ) -> None:
        super().__init__(app, engine, drain_timeout)
        self._remote = engine
        self._follower = follower
        self._link: asyncio.Task[None] | None = None
        self.failed = False

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
        """Connects to the engine process and listens."""
        self._link = asyncio.get_running_loop().create_task(self._remote.keep_connected(self._follower))
        self._link.add_done_callback(self._on_unlinked)
        await super().startup(sockets)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._draining is None:
            super()._on_signal(number)

    def _on_unlinked(self, link: asyncio.Task[None]) -> None:
        if not link.cancelled() and (error := link.exception()):
            logger.critical("the worker cannot follow the engine process and ends", exc_info=error)
            self.failed = self.should_exit = True


def run_worker(settings: Settings, known: Known, listening: socket.socket, directory: Path, name: str) -> int:
    """The whole life of the process; returns its exit status.

    Args:
        known: the models, without weights.
        directory: private to our processes: sockets, vocabularies and metrics.
        name: the same for a worker that takes another's place.
    """
    # What one process may run at once is shared among the workers.
    shared = ("max_concurrent_requests", "max_waiting_body_bytes")
    parts = {name: -(-getattr(settings, name) // settings.workers) for name in shared}
    settings = settings.model_copy(update=parts)
    engine = EngineLink(str(directory / SOCKET))
    catalog = Catalog(
        Served(bundle, engine.engine(), told.model_card(), told.examples) for told, bundle in known
    )
    clusters = max(served.card.clusters for served in catalog)
    metrics = WorkerMetrics(clusters, directory, name, lambda: _samples(engine))
    tracing = open_tracing(settings)
    app = create_app(settings, catalog, metrics, tracing)
    app.context.reload = engine.reload
    # Takes some 20 ms; made for the first reader of /docs, it would let all other clients wait.
    app.openapi()
    settle()
    server = WorkerServer(app, engine, Follower(app.context, known), settings.drain_timeout)
    server.run(sockets=[listening])
    if tracing is not None:
        tracing.close()
    return CRASHED if server.failed else 0


def _samples(engine: EngineLink) -> Sequence[Sample]:
    try:
        return engine.samples().result(SAMPLES_SECONDS)
    except TimeoutError:
        logger.error("the engine process did not tell its metrics; the page is without them")
        return ()
    except Unavailable:
        return ()  # It has none before it is there.
