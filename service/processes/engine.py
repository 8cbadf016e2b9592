"""The engine process: loads the bundles, tells the supervisor what it has, serves until it is told to end."""

import asyncio
import logging
import os
import socket
from pathlib import Path

import msgspec
import torch
import uvloop

from models.bundle import BundleError
from service.fleet.fleet import Fleet
from service.fleet.loading import load
from service.fleet.memory import settle
from service.http.api.examples import describe
from service.link import wire
from service.link.announcement import Announcement
from service.link.engine_server import EngineServer
from service.metrics.registry import Metrics
from service.processes.children import CRASHED
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

ALIVE_SECONDS = 10.0


class Loaded(wire.Frame, frozen=True, tag=1):
    """The bundles are loaded; workers can be started."""

    models: tuple[Announcement, ...]


class Ready(wire.Frame, frozen=True, tag=2):
    """The engines are warm."""


class Broken(wire.Frame, frozen=True, tag=3):
    """A bundle cannot be served; starting the process again would not help. Its last event."""

    message: str


class Alive(wire.Frame, frozen=True, tag=4):
    """No engine hangs; told again and again after `Ready`."""


Event = Loaded | Ready | Broken | Alive

_decoder = msgspec.msgpack.Decoder(Event)


def decode_event(body: bytes) -> Event:
    """What an engine process wrote to its pipe."""
    event: Event = _decoder.decode(body)
    return event


def run_engine(settings: Settings, listening: socket.socket, events: int, directory: Path) -> int:
    """The whole life of the process; returns its exit status.

    Args:
        listening: where workers connect.
        events: a pipe's write end, for `Event` frames.
        directory: private to our processes: for what workers read.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        loaded = [load(source, settings, describe, directory) for source in settings.sources]
    except BundleError as error:
        _tell(events, Broken(str(error)))
        return CRASHED
    metrics = Metrics(max(each.card.clusters for each in loaded))
    fleet = Fleet(settings, metrics, loaded, describe, directory)
    del loaded  # A reference to a model would keep its memory after a reload.
    alive_seconds = min(ALIVE_SECONDS, settings.engine_timeout / 4)
    server = EngineServer(
        fleet, metrics, lambda: _tell(events, Ready()), lambda: _tell(events, Alive()), alive_seconds
    )
    _tell(events, Loaded(server.models))
    settle()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return 0 if runner.run(server.serve(listening)) else CRASHED


def _tell(events: int, event: Event) -> None:
    frame = wire.encode(event)
    while frame:
        frame = frame[os.write(events, frame) :]
