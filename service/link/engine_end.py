"""The engine process's end of a worker's connection: questions in, answers out."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from service.contract.errors import HeadfirstError, InternalError, NotReady
from service.contract.messages import Answer, Message, Predicted, Reloaded
from service.contract.wakeups import wake
from service.fleet.served import Served
from service.link import wire
from service.link.socket_writer import SocketWriter
from service.metrics.samples import Sample

logger = logging.getLogger(__name__)


class Host(Protocol):
    """What the ends of all connections share: the engines, and the set of connections."""

    @property
    def engines(self) -> Mapping[int, Served]:
        """The models that messages can ask, by the number of their engine."""

    def samples(self) -> tuple[Sample, ...]:
        """The engines' metrics that are not 0."""

    async def reload(self, names: Sequence[str] | None) -> Sequence[Reloaded]:
        """Loads models again; raises as `Fleet.reload`."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside all else."""

    def opened(self, end: "EngineEnd") -> None:
        """A worker has connected."""

    def closed(self, end: "EngineEnd") -> None:
        """A worker's connection has ended."""

    def followed(self) -> None:
        """A worker has switched to the last models, or has finished with those before."""


class EngineEnd(asyncio.Protocol):
    """One worker: its messages, and their futures until they are done."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._splitter = wire.Splitter()
        self._transport: asyncio.Transport | None = None
        self._out: SocketWriter | None = None
        self._futures: dict[tuple[int, int], Future[Answer]] = {}
        self.switched = self.finished = 0
        """The last `Models` whose `Switched` and `Finished` have come."""
        # Filled by the engines' threads; each sends the answers of the batch that it has run.
        self._lock = threading.Lock()
        self._done: list[tuple[int, int, Future[Answer]]] = []

    # -- the event loop's callbacks ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._out = SocketWriter(self._transport, self._loop)
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of frames, in whatever pieces they come."""
        for body in self._splitter.feed(data):
            try:
                question = wire.decode_question(body)
            except msgspec.DecodeError:
                logger.exception("a worker sent something else than a message; its connection is closed")
                self.close()
                return
            self._take(question)

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker is gone: what it asked is cancelled."""
        self._transport = None
        if self._out is not None:
            self._out.close()
        futures = list(self._futures.values())
        self._futures.clear()
        for future in futures:
            future.cancel()
        self._host.closed(self)

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def send(self, *frames: wire.Frame) -> None:
        """Writes frames at once; into the void if the connection has ended. By any thread."""
        if self._out is not None:
            self._out.write(b"".join(map(wire.encode, frames)))

    # -- questions --------------------------------------------------------------------------------------

    def _take(self, question: wire.Question) -> None:
        match question:
            case wire.AskPredict() | wire.AskScore():
                self._ask(question.number, question.engine, question.messages)
            case wire.Cancel():
                for index in question.indexes:
                    future = self._futures.pop((question.number, index), None)
                    if future is not None:
                        future.cancel()
            case wire.AskSamples():
                self.send(wire.Samples(question.number, self._host.samples()))
            case wire.AskReload():
                self._host.start(self._reload(question.number, question.names))
            case wire.Switched():
                self.switched = question.number
                self._host.followed()
            case wire.Finished():
                self.finished = question.number
                self._host.followed()

    async def _reload(self, number: int, names: tuple[str, ...] | None) -> None:
        try:
            models = await self._host.reload(names)
        except HeadfirstError as error:
            self.send(wire.Refused(number, wire.Fault.of(error)))
        else:
            self.send(wire.ReloadDone(number, tuple(models)))

    def _ask(self, number: int, engine: int, messages: tuple[Message, ...]) -> None:
        served = self._host.engines.get(engine)
        if served is None:
            self.send(wire.Refused(number, wire.Fault.of(NotReady("There is no such engine any more."))))
            return
        try:
            futures = served.engine.submit(messages)
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
            wake(self._flush)

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
