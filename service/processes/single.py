"""The server that is one process: HTTP and its engines."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Generator, Sequence
from typing import Any

import torch

from service.contract.messages import Reloaded
from service.fleet.fleet import Fleet, reload_on_hangup
from service.fleet.loading import load
from service.fleet.memory import settle
from service.http.api.examples import describe
from service.http.app import HeadfirstApp, create_app
from service.http.server import Server
from service.http.telemetry.tracing import open_tracing
from service.metrics.registry import Metrics
from service.processes.listening import bind, log_urls
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

WATCH_SECONDS = 1.0
"""How often a hanging engine is looked for."""


class LocalServer(Server):
    """`Server` that also watches its engines, and loads their models again on SIGHUP."""

    def __init__(self, app: HeadfirstApp, fleet: Fleet, drain_timeout: float) -> None:
        super().__init__(app, fleet, drain_timeout)
        self._fleet = fleet
        self._context = app.context
        self._context.reload = self._reload
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles SIGHUP, too."""
        loop = asyncio.get_running_loop()
        with super().capture_signals():
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            try:
                yield
            finally:
                loop.remove_signal_handler(signal.SIGHUP)
                # Until the process ends, as before: the signal's own action would end it.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, says where, and watches."""
        await super().startup(sockets)
        log_urls(sockets or [])
        self._start(self._tell_ready())
        self._start(self._watch())

    async def _tell_ready(self) -> None:
        started = time.monotonic()
        await self._fleet.changes.until(lambda: self._fleet.state != "starting")
        fields = {"seconds": round(time.monotonic() - started, 3)}
        logger.info(self._fleet.state, extra={"fields": fields})

    def _on_hangup(self) -> None:
        self._start(reload_on_hangup(self._reload))

    async def _reload(self, names: Sequence[str] | None) -> list[Reloaded]:
        return await self._fleet.reload(names, self._context)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._fleet.check()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def run_single(settings: Settings) -> None:
    """The whole life of the process: loads the models, serves until a signal.

    Raises:
        ConfigurationError, BundleError: the address or a bundle cannot be served.
    """
    with bind(settings.host, settings.port) as listening:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        loaded = [load(source, settings, describe) for source in settings.sources]
        metrics = Metrics(max(each.card.clusters for each in loaded))
        fleet = Fleet(settings, metrics, loaded, describe)
        tracing = open_tracing(settings)
        app = create_app(settings, fleet.catalog, metrics, tracing)
        # The app keeps it; made for the first reader of /docs, it would let all other clients wait.
        app.openapi()
        server = LocalServer(app, fleet, settings.drain_timeout)
        del loaded  # A reference to a model would keep its memory after a reload.
        settle()
        fleet.start()
        try:
            server.run(sockets=[listening])
        finally:
            fleet.stop()
            if tracing is not None:
                tracing.close()
