"""`--http-workers N`: the parent of an engine process and N HTTP workers.

It starts them, starts again what ends, and ends them in the right order: workers stop admission and finish,
then the engine. A process that fails again and again is given up: the others end in that order, and the exit
status is 1, which restarts a container. So readiness tells of an engine that is being restarted, and
liveness fails only with the server. An engine process that sends no `Alive` any more is killed.

It has one thread, which waits for a signal, an event of the engine process or the next scheduled action.
"""

import logging
import os
import sched
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from service import logs
from service.link import wire
from service.link.announcement import Announcement
from service.metrics.workers import forget_gauges
from service.processes.children import ENGINE, Backoff, Child, Children, how_it_ended
from service.processes.engine import Alive, Broken, Loaded, Ready, decode_event, run_engine
from service.processes.events import cancel_all, handle_next, signals_as_bytes
from service.processes.listening import listen, listen_at, log_urls
from service.processes.worker import SOCKET, run_worker
from service.settings.settings import ConfigurationError, Settings

logger = logging.getLogger("headfirst")

GRACE_SECONDS = 5.0
"""After its time to drain, a worker is killed; so is an engine process that does not end."""
ENGINE_GRACE_SECONDS = 15.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)


class Supervisor:
    """Runs `settings.workers` workers and their engine process until a signal.

    Raises:
        ConfigurationError: there is no such address here, or the port is taken; or the system cannot fork.
    """

    def __init__(self, settings: Settings) -> None:
        if not hasattr(os, "fork"):
            raise ConfigurationError("--http-workers: this system cannot fork; leave it at 0")
        self._settings = settings
        self._directory = _private_directory()
        try:
            self._listening = listen(settings.host, settings.port, settings.workers)
        except ConfigurationError:
            self._directory.rmdir()
            raise
        self._children = Children(self._directory)
        self._backoffs: defaultdict[str, Backoff] = defaultdict(Backoff)
        self._schedule = sched.scheduler(time.monotonic)
        self._engine_socket = socket.socket(socket.AF_UNIX)
        self._selector = selectors.DefaultSelector()
        self._models: list[tuple[Announcement, Bundle]] = []
        self._ready_at: float | None = None
        self._alive_at: float | None = None
        self._stopping = False
        self._failure: ConfigurationError | None = None
        self._status = 0

    def run(self) -> int:
        """Serves; the exit status: 0 after a signal, 1 if a process failed again and again.

        Raises:
            ConfigurationError: the bundle cannot be served.
        """
        logs.name_process("supervisor")
        try:
            with signals_as_bytes(_SIGNALS) as wakeup:
                self._selector.register(wakeup, selectors.EVENT_READ, partial(self._on_signals, wakeup))
                listen_at(self._directory / SOCKET, self._engine_socket)
                self._start_engine()
                while self._children or not self._stopping:
                    handle_next(self._selector, self._schedule)
        finally:
            self._children.kill()
            for each in (*self._listening, self._engine_socket):
                each.close()
            self._selector.close()
            self._children.close()
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._failure is not None:
            raise self._failure
        return self._status

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._schedule.enter(seconds, 0, action)

    # -- starting ---------------------------------------------------------------------------------------

    def _start_engine(self) -> None:
        read_end, write_end = os.pipe()
        self._ready_at = self._alive_at = None
        work = partial(run_engine, self._settings, self._engine_socket, write_end, self._directory)
        self._children.start(ENGINE, work)
        os.close(write_end)
        self._selector.register(
            read_end, selectors.EVENT_READ, partial(self._on_events, read_end, wire.Splitter())
        )

    def _start_worker(self, index: int) -> None:
        name = f"worker-{index + 1}"
        listening = self._listening[index]
        work = partial(run_worker, self._settings, self._models, listening, self._directory, name)
        self._children.start(name, work)

    def _on_events(self, read_end: int, splitter: wire.Splitter) -> None:
        data = os.read(read_end, 65536)
        if not data:
            self._selector.unregister(read_end)
            os.close(read_end)
        for body in splitter.feed(data):
            event = decode_event(body)
            if isinstance(event, Broken):
                self._fail(ConfigurationError(event.message))
            elif isinstance(event, Ready):
                self._on_ready()
            elif isinstance(event, Alive):
                self._alive_at = time.monotonic()
            elif not self._models:
                self._on_loaded(event)

    def _on_ready(self) -> None:
        self._ready_at = self._alive_at = time.monotonic()
        engine = self._children.named(ENGINE)
        if engine is not None:
            seconds = round(self._ready_at - engine.started, 3)
            logger.info("the engine is warm", extra={"fields": {"seconds": seconds}})
            self._after(self._settings.engine_timeout / 4, partial(self._check_engine, engine))

    def _check_engine(self, engine: Child) -> None:
        """Kills an engine process whose event loop hangs: it can send no event about that."""
        if self._alive_at is None or self._children.named(ENGINE) is not engine:
            return
        if time.monotonic() - self._alive_at > self._settings.engine_timeout:
            seconds = round(time.monotonic() - self._alive_at, 3)
            logger.error("the engine process hangs: it is killed", extra={"fields": {"seconds": seconds}})
            engine.signal(signal.SIGKILL)
        else:
            self._after(self._settings.engine_timeout / 4, partial(self._check_engine, engine))

    def _on_loaded(self, event: Loaded) -> None:
        # After a reload a new worker reads the new vocabulary by itself.
        self._models = [(model, model.bundle()) for model in event.models]
        if self._stopping:
            return
        log_urls(self._listening[:1])
        for index in range(self._settings.workers):
            self._start_worker(index)

    # -- when one ends ----------------------------------------------------------------------------------

    def _reap(self) -> None:
        for child, wait_status in self._children.reap():
            if child.name != ENGINE:
                forget_gauges(self._directory, child.name)
            if self._stopping:
                self._stop_next()
            else:
                self._replace(child, wait_status)

    def _replace(self, child: Child, wait_status: int) -> None:
        since = self._ready_at if child.name == ENGINE else child.started
        served = 0.0 if since is None else time.monotonic() - since
        delay = self._backoffs[child.name].next(served)
        fields: dict[str, Any] = {"ended": child.name, "child": child.pid, **how_it_ended(wait_status)}
        if delay is None:
            logger.critical("a process failed again and again: gives up", extra={"fields": fields})
            self._status = 1
            self._stop()
            return
        logger.error("a process ended; it is started again", extra={"fields": fields | {"seconds": delay}})
        if child.name == ENGINE:
            self._after(delay, self._restart_engine)
        else:
            index = int(child.name.removeprefix("worker-")) - 1
            self._after(delay, partial(self._restart_worker, index))

    def _restart_engine(self) -> None:
        if not self._stopping:
            self._start_engine()

    def _restart_worker(self, index: int) -> None:
        if not self._stopping:
            self._start_worker(index)

    # -- the end ----------------------------------------------------------------------------------------

    def _on_signals(self, wakeup: socket.socket) -> None:
        for number in wakeup.recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._on_hangup()
            elif self._stopping:
                logger.warning(
                    "second signal: exits at once", extra={"fields": {"signal": signal.Signals(number).name}}
                )
                self._children.kill()
                self._status = 128 + number
            else:
                fields = {"signal": signal.Signals(number).name}
                logger.info("ending; a second signal exits at once", extra={"fields": fields})
                if not self._models:
                    self._status = 128 + number  # Nothing was accepted yet.
                self._stop()

    def _on_hangup(self) -> None:
        """It means a reload, which is the engine process's."""
        engine = self._children.named(ENGINE)
        if self._stopping or engine is None or self._ready_at is None:
            logger.warning("no model was reloaded: the engine process is not ready")
        else:
            engine.signal(signal.SIGHUP)

    def _fail(self, error: ConfigurationError) -> None:
        self._failure = error
        if not self._stopping:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        cancel_all(self._schedule)
        # The workers have their own; a port that is closed when they are done tells clients so at once.
        for listening in self._listening:
            listening.close()
        self._children.signal_workers(signal.SIGTERM)
        self._after(
            self._settings.drain_timeout + GRACE_SECONDS,
            partial(self._children.signal_workers, signal.SIGKILL),
        )
        self._stop_next()

    def _stop_next(self) -> None:
        """The engine's turn comes when no worker is left."""
        engine = self._children.named(ENGINE)
        if engine is not None and len(self._children) == 1:
            engine.signal(signal.SIGTERM)
            self._after(ENGINE_GRACE_SECONDS, self._children.kill)


def _private_directory() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="headfirst-"))
    except OSError as error:
        raise ConfigurationError(
            f"no folder for temporary files can be made ({error.strerror}): set TMPDIR, or --http-workers 0"
        ) from error
