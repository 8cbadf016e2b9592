"""What an HTTP worker has instead of engines: the engine process at the other end of a socket.

A question is a frame out and a future that waits; the frame that comes back resolves it. When the connection
ends, the engine process has ended: all futures that wait get 503 at once. The socket listens in the
supervisor, so that the next connection is there at once; the next engine process takes it when it has loaded.

On each connection the engine process announces first which models it has, and again after each reload. Their
numbers mean nothing on another connection: tokens never reach an engine that does not know them.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from service.contract.engine import State, Users
from service.contract.errors import Draining, HeadfirstError, NotReady
from service.contract.messages import Answer, Message, Reloaded
from service.link import wire
from service.link.announcement import Announcement
from service.link.pending import Pending
from service.link.remote_engine import RemoteEngine
from service.link.worker_end import WorkerEnd
from service.metrics.samples import Sample

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.1
"""Pause after a connection that could not be made: the supervisor is gone, or very many wait before us."""


ModelUsers = Users[tuple[Announcement, RemoteEngine]]
"""The requests of a worker, which ask what the engine process has announced."""


class EngineLink:
    """All engines of the engine process. Made before the event loop runs, connected on it by
    `keep_connected`.

    Futures are resolved on the event loop's thread; `submit` and their `cancel` may be called by any.

    Args:
        path: of the engine process's socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._users: ModelUsers | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._known = False
        self._told = False
        self._state: State = "starting"
        self._reason = "the engine process is starting"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: WorkerEnd | None = None
        self._lock = lock = threading.RLock()
        self._pending = Pending(lock)

    @property
    def state(self) -> State:
        """`starting` until the engine process is connected and warm, also when it is being restarted."""
        return "starting" if self._state == "ready" and not self._known else self._state

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return "the vocabulary is being read" if self._state == "ready" and not self._known else self._reason

    def engine(self, connection: WorkerEnd | None = None, number: int = 0) -> RemoteEngine:
        """The engine that `connection` announced by this number; without one, an engine that is not ready."""
        return RemoteEngine(self, partial(self.ask, connection, number))

    # -- asking, from any thread ------------------------------------------------------------------------

    def ask(
        self, connection: WorkerEnd | None, engine: int, messages: Sequence[Message]
    ) -> list[Future[Answer]]:
        """Sends all messages to one of the engines. Cancelling one of their futures tells the engine.

        Args:
            connection: that on which the engine's number was announced.

        Raises:
            NotReady, Draining: nothing is accepted now, or that connection has ended.
        """
        futures: list[Future[Answer]] = [Future() for _ in messages]
        with self._lock:
            if self._state != "ready" or connection is None or connection is not self._connection:
                raise self._unready()
            number = self._pending.add_messages(futures)
        for index, future in enumerate(futures):
            future.add_done_callback(partial(self._forget, number, index))
        self._send(connection, wire.encode_ask(number, engine, messages))
        return futures

    def samples(self) -> Future[tuple[Sample, ...]]:
        """The engines' metrics that are not 0; NotReady or Draining without an engine process."""
        return self._question(wire.AskSamples)

    async def reload(self, names: Sequence[str] | None) -> tuple[Reloaded, ...]:
        """Lets the engine process load models again; raises as `Fleet.reload`, also NotReady."""
        asked = None if names is None else tuple(names)
        return await asyncio.wrap_future(self._question(lambda number: wire.AskReload(number, asked)))

    def _question(self, question: Callable[[int], wire.Frame]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            connection = self._connection
            # A connection that no engine process has accepted yet would let it wait.
            if connection is None or self._state in ("starting", "dead"):
                future.set_exception(self._unready())
                return future
            number = self._pending.add(future)
        self._send(connection, wire.encode(question(number)))
        return future

    def drain(self, timeout: float) -> bool:
        """Accepts nothing more; what still waits gets `Draining`. Whether nothing did.

        The server calls this when the requests that it accepted are answered, or their time is over: there is
        nothing to wait for.
        """
        with self._lock:
            self._state, self._reason = "draining", "the server is shutting down"
            idle = not self._pending.messages
        self._call(partial(self._pending.abandon, Draining))
        return idle

    def stop(self) -> None:
        """Ends the connection for good, with which the engine drops what it was asked."""
        with self._lock:
            if self._state != "dead":
                self._state, self._reason = "dead", "the engine was stopped"
            connection = self._connection
        if connection is not None:
            self._call(connection.close)

    # -- the connection, on the event loop --------------------------------------------------------------

    async def keep_connected(self, users: ModelUsers) -> None:
        """Keeps a connection until `stop`, and switches `users` to what is served.

        Raises:
            Exception: that of `users.switch`.
        """
        self._loop = asyncio.get_running_loop()
        self._users = users
        while self._state not in ("draining", "dead"):
            connection = WorkerEnd(self._receive)
            try:
                await self._loop.create_unix_connection(lambda: connection, self._path)  # noqa: B023
            except OSError as error:
                logger.debug("no connection to the engine process", exc_info=error)
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            with self._lock:
                self._connection = connection
            try:
                await connection.lost
            finally:
                self._lose(connection)

    def _lose(self, connection: WorkerEnd) -> None:
        connection.close()
        for task in self._following:
            task.cancel()
        with self._lock:
            self._connection = None
            self._known = self._told = False
            if self._state in ("starting", "ready"):
                self._state, self._reason = "starting", "the engine process ended and is being restarted"
        self._pending.abandon(self._unready)

    async def _follow(self, connection: WorkerEnd, told: wire.Models) -> None:
        assert self._users is not None  # noqa: S101 -- connections are made after it is there
        models = [(model, self.engine(connection, model.engine)) for model in told.models]
        await self._users.switch(models)
        with self._lock:
            self._known = True
        self._tell_ready()
        self._send(connection, wire.encode(wire.Switched(told.number)))
        await self._users.finish()
        self._send(connection, wire.encode(wire.Finished(told.number)))

    def _tell_ready(self) -> None:
        """Says it when questions are answered, once for each connection."""
        if self.state == "ready" and not self._told:
            self._told = True
            logger.info("ready")

    def _followed(self, connection: WorkerEnd, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        if not task.cancelled() and (error := task.exception()) and not connection.lost.done():
            connection.lost.set_exception(error)

    def _receive(self, connection: WorkerEnd, body: bytes) -> None:
        reply = wire.decode_reply(body)
        match reply:
            case wire.Models():
                task = asyncio.get_running_loop().create_task(self._follow(connection, reply))
                self._following.add(task)
                task.add_done_callback(partial(self._followed, connection))
            case wire.PredictedOne() | wire.ScoredOne():
                future = self._pending.take(reply.number, reply.index)
                if future is not None:
                    future.set_result(reply.answer)
            case wire.Failed():
                future = self._pending.take(reply.number, reply.index)
                if future is not None:
                    future.set_exception(reply.fault.error())
            case wire.Refused():
                self._pending.refuse(reply.number, reply.fault.error)
            case wire.State():
                with self._lock:
                    if self._state in ("starting", "ready"):
                        self._state, self._reason = cast(State, reply.state), reply.reason
                self._tell_ready()
            case wire.Samples():
                self._pending.answer(reply.number, reply.samples)
            case wire.ReloadDone():
                self._pending.answer(reply.number, reply.models)

    def _forget(self, number: int, index: int, future: Future[Answer]) -> None:
        """Called when a future is done: the engine is told of one that was cancelled."""
        if not future.cancelled():
            return
        with self._lock:
            if not self._pending.drop(number, index):
                return
            connection = self._connection
        self._send(connection, wire.encode(wire.Cancel(number, (index,))))

    def _unready(self) -> HeadfirstError:
        if self._state == "draining":
            return Draining()
        return NotReady(f"The model is not ready: {self.reason or 'the engine process was restarted'}.")

    def _send(self, connection: WorkerEnd | None, frame: bytes) -> None:
        """A frame for a connection that has ended since is dropped: the future of its answer has failed."""
        if connection is not None:
            self._call(partial(connection.write, frame))

    def _call(self, work: Callable[[], None]) -> None:
        """Runs `work` on the event loop's thread: now, if this is it."""
        loop = self._loop
        if loop is None or _running_loop() is loop:
            work()
        else:
            loop.call_soon_threadsafe(work)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
