"""The engine's side of the socket: takes connections of HTTP workers and asks an `Engine` for them."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol, cast

import msgspec

from service import wire
from service.errors import HeadfirstError, InternalError
from service.messages import Answer, Message, Predicted
from service.metrics import Metrics
from service.routes.context import Engine

logger = logging.getLogger(__name__)

STARTING_SECONDS = 0.01
WATCH_SECONDS = 0.5
"""How often the state of an engine is looked at: while it warms up, and afterwards."""


class Stoppable(Engine, Protocol):
    """As much of `service.engine.Engine` as its process uses."""

    def start(self) -> None:
        """Starts; returns at once."""

    def stop(self) -> None:
        """Ends; what is not answered fails."""


class EngineServer:
    """Asks an engine for all connections. Used on the event loop.

    Args:
        engine: not started yet.
        metrics: the engine's.
        on_ready: called once, when the engine is.
    """

    def __init__(self, engine: Stoppable, metrics: Metrics, on_ready: Callable[[], None]) -> None:
        self.engine = engine
        self.metrics = metrics
        self.connections: set[_Connection] = set()
        self._on_ready = on_ready
        self._stopping = False
        self._changed = asyncio.Event()

    async def serve(self, listening: socket.socket) -> bool:
        """Starts the engine and serves until it dies, or until SIGTERM came and no worker is connected any
        more. Whether it was the latter.

        The order of a shutdown is so right whoever gets the signal first: workers finish, then the engine.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        server = await loop.create_unix_server(lambda: _Connection(self), sock=listening)
        self.engine.start()
        watch = loop.create_task(self._watch())
        try:
            while not (self._stopping and not self.connections) and not watch.done():
                waiting = loop.create_task(self._changed.wait())
                await asyncio.wait([watch, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                self._changed.clear()
            if watch.done():
                watch.result()
                return False
            return True
        finally:
            watch.cancel()
            server.close()
            # Until here the futures had somebody to go to.
            for connection in list(self.connections):
                connection.close()
            self.engine.stop()
            loop.remove_signal_handler(signal.SIGTERM)

    def stop(self) -> None:
        """Ends `serve` as soon as no worker is connected."""
        self._stopping = True
        self._changed.set()

    def opened(self, connection: "_Connection") -> None:
        """A worker is there."""
        self.connections.add(connection)
        connection.send(wire.State(self.engine.state, self.engine.reason))

    def closed(self, connection: "_Connection") -> None:
        """A worker is gone."""
        self.connections.discard(connection)
        self._changed.set()

    async def _watch(self) -> None:
        """Returns when the engine is dead."""
        # Its states are other threads', and it tells nobody when one changes.
        while self.engine.state == "starting":  # noqa: ASYNC110
            await asyncio.sleep(STARTING_SECONDS)
        if self.engine.state == "ready":
            for connection in self.connections:
                connection.send(wire.State(self.engine.state, self.engine.reason))
            self._on_ready()
        while self.engine.state != "dead":  # noqa: ASYNC110
            await asyncio.sleep(WATCH_SECONDS)
        logger.error(f"the engine process ends: {self.engine.reason}")


class _Connection(asyncio.Protocol):
    """One worker: its messages, and their futures until they are done."""

    def __init__(self, server: EngineServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._splitter = wire.Splitter()
        self._transport: asyncio.Transport | None = None
        self._futures: dict[tuple[int, int], Future[Answer]] = {}
        # Filled by the engine's threads, emptied by the event loop, which is woken once for a whole batch.
        self._lock = threading.Lock()
        self._done: list[tuple[int, int, Future[Answer]]] = []

    # -- the event loop's callbacks ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        for body in self._splitter.feed(data):
            try:
                question = wire.decode_question(body)
            except msgspec.DecodeError:
                logger.exception("a worker sent what is no message; its connection is closed")
                self.close()
                return
            self._take(question)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        futures = list(self._futures.values())
        self._futures.clear()
        for future in futures:
            future.cancel()
        self._server.closed(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, *frames: wire.Frame) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(map(wire.encode, frames)))

    # -- questions --------------------------------------------------------------------------------------

    def _take(self, question: wire.Question) -> None:
        match question:
            case wire.AskPredict() | wire.AskScore():
                self._submit(question.number, question.messages)
            case wire.Cancel():
                for index in question.indexes:
                    future = self._futures.pop((question.number, index), None)
                    if future is not None:
                        future.cancel()
            case wire.AskSamples():
                self.send(wire.Samples(question.number, samples(self._server.metrics)))

    def _submit(self, number: int, messages: tuple[Message, ...]) -> None:
        try:
            futures = self._server.engine.submit(messages)
        except HeadfirstError as error:
            self.send(wire.Refused(number, wire.Fault.of(error)))
            return
        except Exception:
            logger.exception("the engine failed to take messages")
            self.send(wire.Refused(number, wire.Fault.of(InternalError())))
            return
        for index, future in enumerate(futures):
            self._futures[number, index] = future
            future.add_done_callback(partial(self._on_done, number, index))

    # -- answers ----------------------------------------------------------------------------------------

    def _on_done(self, number: int, index: int, future: Future[Answer]) -> None:
        with self._lock:
            self._done.append((number, index, future))
            first = len(self._done) == 1
        if first:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        frames = []
        for number, index, future in done:
            if self._futures.pop((number, index), None) is not None and not future.cancelled():
                frames.append(_frame(number, index, future))
        if frames:
            self.send(*frames)


def _frame(number: int, index: int, future: Future[Answer]) -> wire.Frame:
    error = future.exception()
    if error is not None:
        return wire.Failed(number, index, wire.Fault.of(error))
    answer = future.result()
    if isinstance(answer, Predicted):
        return wire.PredictedOne(number, index, answer)
    return wire.ScoredOne(number, index, answer)


def samples(metrics: Metrics) -> tuple[wire.Sample, ...]:
    """The values of all metrics of ours that are not 0."""
    return tuple(
        wire.Sample(sample.name, dict(sample.labels), sample.value)
        for family in metrics.registry.collect()
        if family.name.startswith("headfirst_")
        for sample in family.samples
        if sample.value
    )
