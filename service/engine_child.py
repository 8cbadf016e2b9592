"""The engine process: loads the bundle, tells the supervisor what it has, serves until it is told to end."""

import asyncio
import logging
import os
import socket
import time

import msgspec
import torch
import uvloop

from models.bundle import Bundle, BundleError
from service import wire
from service.child import CRASHED
from service.engine import Engine
from service.engine_process import EngineServer
from service.loading import log_loaded, settle
from service.metrics import Metrics
from service.served_model import ServedModel
from service.settings import Settings

logger = logging.getLogger("headfirst")


class Loaded(wire.Frame, frozen=True, tag=1):
    """The bundle is loaded; workers can be started."""

    model: ServedModel


class Ready(wire.Frame, frozen=True, tag=2):
    """The engine is warm."""


class Broken(wire.Frame, frozen=True, tag=3):
    """The bundle cannot be served; starting the process again would not help. Its last event."""

    message: str


Event = Loaded | Ready | Broken

_decoder = msgspec.msgpack.Decoder(Event)


def decode_event(body: bytes) -> Event:
    """What an engine process wrote to its pipe."""
    event: Event = _decoder.decode(body)
    return event


def run_engine(
    settings: Settings, listening: socket.socket, events: int, expected: ServedModel | None
) -> int:
    """The whole life of the process; returns its exit status.

    Args:
        listening: where workers connect.
        events: a pipe's write end, for `Event` frames.
        expected: what the workers know, if they run already.
    """
    started = time.monotonic()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        bundle = Bundle.load(settings.bundle_path, settings.device, settings.model_name)
    except BundleError as error:
        _tell(events, Broken(str(error)))
        return CRASHED
    model = ServedModel.of(bundle)
    if expected is not None and not model.same(expected):
        _tell(events, Broken(f"{bundle.path}: the bundle was changed while it is being served"))
        return CRASHED
    metrics = Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, settings, metrics)
    log_loaded(bundle, started)
    _tell(events, Loaded(model))
    settle()

    async def serve() -> bool:
        return await EngineServer(engine, metrics, lambda: _tell(events, Ready())).serve(listening)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return 0 if runner.run(serve()) else CRASHED


def _tell(events: int, event: Event) -> None:
    frame = wire.encode(event)
    while frame:
        frame = frame[os.write(events, frame) :]
