"""uvicorn that drains first: after SIGTERM it still listens, says 503, and finishes what it accepted."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Generator
from functools import partial
from typing import cast

import uvicorn

from service.contract.engine import Drainable
from service.http.app import HeadfirstApp
from service.http.edge.hosts import Hosts
from service.http.edge.protocol import HttpProtocol

logger = logging.getLogger("headfirst")

QUIET_SECONDS = 0.2
"""After its last answer the server listens on for this long, so that requests on their way get a 503."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Serves `app` on a bound socket until a signal, then drains `engine` within `drain_timeout` seconds.

    uvicorn's own shutdown closes the listening socket first, and a probe could not ask for the readiness.
    A second signal ends the process at once.
    """

    def __init__(self, app: HeadfirstApp, engine: Drainable, drain_timeout: float) -> None:
        # A part of the time is uvicorn's, to close connections: a little more than its timeout below.
        self._closing_seconds = min(1.5, drain_timeout / 2)
        settings = app.context.settings
        protocol = partial(
            HttpProtocol,
            refusals=app.refusals,
            hosts=Hosts(settings.hosts),
            write_timeout=settings.write_timeout,
        )
        super().__init__(
            uvicorn.Config(
                app.answer,
                interface="asgi3",
                http=cast(type[asyncio.Protocol], protocol),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                server_header=False,
                # A timer takes any number of seconds.
                timeout_keep_alive=cast(int, settings.keep_alive),
                # In whole seconds; 0 would mean at once.
                timeout_graceful_shutdown=1,
            )
        )
        self._admission = app.context.admission
        self._engine = engine
        self._drain_timeout = drain_timeout
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handles the signals itself for as long as it serves."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._draining is not None:
            logger.warning("second signal: exits at once", extra={"fields": {"signal": number.name}})
            os._exit(128 + number)
        self._admission.draining = True
        fields = {"signal": number.name, "in_flight": self._admission.in_flight}
        logger.info("draining; a second signal exits at once", extra={"fields": fields})
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        started = time.monotonic()
        budget = self._drain_timeout - self._closing_seconds
        try:
            async with asyncio.timeout(budget):
                await self._admission.wait_idle()
                await asyncio.sleep(QUIET_SECONDS)
        except TimeoutError:
            if self._admission.in_flight:
                fields = {"in_flight": self._admission.in_flight}
                logger.warning("drain timeout: unanswered requests get 503", extra={"fields": fields})
        left = max(0.0, budget - (time.monotonic() - started))
        try:
            await asyncio.to_thread(self._engine.drain, left)
            await asyncio.to_thread(self._engine.stop)
        finally:
            self.should_exit = True
