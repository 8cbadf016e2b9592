"""The engines' side of the socket: takes connections of HTTP workers and asks a `Fleet` for them."""

import asyncio
import logging
import shutil
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from service.contract.changes import Changes
from service.contract.messages import Reloaded
from service.fleet.fleet import Fleet, reload_on_hangup
from service.fleet.served import Served
from service.link import wire
from service.link.announcement import Announcement
from service.link.engine_end import EngineEnd
from service.metrics.registry import Metrics
from service.metrics.samples import Sample, samples

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.5
"""How often an engine that hangs is looked for."""


class EngineServer:
    """Asks the engines for all connections, and tells these which models there are. Used on the event loop.

    Args:
        fleet: not started yet.
        metrics: of its engines.
        on_ready: called once, when the engines are.
        on_alive: called every `alive_seconds` from then on, as long as none of them hangs.
    """

    def __init__(
        self,
        fleet: Fleet,
        metrics: Metrics,
        on_ready: Callable[[], None],
        on_alive: Callable[[], None] = lambda: None,
        alive_seconds: float = 10.0,
    ) -> None:
        self.fleet = fleet
        self.metrics = metrics
        self.connections: set[EngineEnd] = set()
        self.engines: dict[int, Served] = {}
        """The models that messages can ask, by the number of their engine."""
        self._on_ready = on_ready
        self._on_alive = on_alive
        self._alive_seconds = alive_seconds
        self._stopping = False
        self._changes = Changes()
        """Announces each change of an engine's state, of the connections and of what these have told."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 1
        """Of the last `Models`."""
        self._last_engine = 0
        self.models = self._list_models()
        """The last announcement."""

    async def serve(self, listening: socket.socket) -> bool:
        """Starts the engines and serves until one dies, or until SIGTERM came and no worker is connected any
        more. Whether it was the latter. SIGHUP loads all models again.

        So the order of a shutdown is right, whichever process gets the signal first: workers finish, then the
        engine.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        server = await loop.create_unix_server(lambda: EngineEnd(self), sock=listening)
        self.fleet.changes.forward(self._changes)
        self.fleet.start()
        watch = loop.create_task(self._watch())
        ended = loop.create_task(self._changes.until(lambda: self._stopping and not self.connections))
        try:
            await asyncio.wait([watch, ended], return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
                return False
            return True
        finally:
            for task in (watch, ended, *self._tasks):
                task.cancel()
            server.close()
            # Until here the futures' answers had a connection to go to.
            for connection in list(self.connections):
                connection.close()
            self.fleet.stop()
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGHUP)

    def stop(self) -> None:
        """Ends `serve` as soon as no worker is connected."""
        self._stopping = True
        self._changes.announce()

    def opened(self, end: EngineEnd) -> None:
        """A worker has connected."""
        self.connections.add(end)
        end.send(wire.Models(self._number, self.models), wire.State(self.fleet.state, self.fleet.reason))

    def closed(self, end: EngineEnd) -> None:
        """A worker's connection has ended."""
        self.connections.discard(end)
        self._changes.announce()

    def followed(self) -> None:
        """A worker has switched to the last models, or has finished with those before."""
        self._changes.announce()

    def samples(self) -> tuple[Sample, ...]:
        """The engines' metrics that are not 0."""
        return samples(self.metrics.registry)

    # -- loading again ----------------------------------------------------------------------------------

    async def reload(self, names: Sequence[str] | None) -> list[Reloaded]:
        """Loads models again; raises as `Fleet.reload`."""
        return await self.fleet.reload(names, self)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside all else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def switch(self, models: Sequence[Served]) -> None:
        """Tells all workers what the fleet has now; returns when their new requests ask that."""
        self._number += 1
        self.models = self._list_models()
        for connection in self.connections:
            connection.send(wire.Models(self._number, self.models))
        await self._changes.until(lambda: all(each.switched == self._number for each in self.connections))

    async def finish(self) -> None:
        """Returns when no worker has a request left that asks what the last `switch` took away."""
        await self._changes.until(lambda: all(each.finished == self._number for each in self.connections))
        used = {model.engine for model in self.models}
        gone = [self.engines.pop(number) for number in list(self.engines) if number not in used]
        kept = {served.vocabulary for served in self.engines.values()}
        # Several of them may have had one folder.
        for folder in {served.vocabulary for served in gone} - kept:
            if folder is not None:
                shutil.rmtree(folder)

    def _list_models(self) -> tuple[Announcement, ...]:
        numbers = {served: number for number, served in self.engines.items()}
        for served in self.fleet.catalog:
            if served not in numbers:
                self._last_engine += 1
                numbers[served] = self._last_engine
                self.engines[self._last_engine] = served
        return tuple(Announcement.of(served, numbers[served]) for served in self.fleet.catalog)

    def _on_hangup(self) -> None:
        self.start(reload_on_hangup(self.reload))

    # -- watching ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Returns when an engine is dead."""
        await self._changes.until(lambda: self.fleet.state != "starting")
        if self.fleet.state == "ready":
            for connection in self.connections:
                connection.send(wire.State(self.fleet.state, self.fleet.reason))
            self._on_ready()
        told = -self._alive_seconds
        while self.fleet.state != "dead":
            if time.monotonic() - told >= self._alive_seconds:
                told = time.monotonic()
                self._on_alive()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._changes.until(lambda: self.fleet.state == "dead")
            self.fleet.check()
        logger.error(f"the engine process ends: {self.fleet.reason}")
