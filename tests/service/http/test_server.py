"""Starting and draining in this process, real signals and sockets included."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from service.http import server as server_module
from service.http.server import Server
from service.processes.listening import bind
from tests.service.conftest import LocalApp

pytestmark = pytest.mark.anyio
Local = Callable[..., LocalApp]

REQUEST = b'POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n{"inputs": "a"}'


class Ending:
    """What a server asks of its engine when it ends."""

    def __init__(self, app: LocalApp) -> None:
        self.calls: list[str] = []
        self._app = app

    def drain(self, timeout: float) -> bool:
        self.calls.append("drain")
        return True

    def stop(self) -> None:
        self.calls.append("stop")
        self._app.engine.hold.set()


class Running:
    """A server in this process's event loop."""

    def __init__(self, app: LocalApp, drain_timeout: float) -> None:
        self.app = app
        self.engine = Ending(app)
        listening = bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.server = Server(app.app, self.engine, drain_timeout)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.server.serve(sockets=[listening]))

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 -- the server tells nobody about its progress
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def run(app: LocalApp, drain_timeout: float = 5) -> AsyncIterator[Running]:
    running = Running(app, drain_timeout)
    await running.wait_for(lambda: running.server.started)
    try:
        yield running
    finally:
        running.server.should_exit = True
        running.engine.stop()
        await running.task


Run = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_first(local: Local, number: signal.Signals) -> None:
    app = local()
    app.engine.hold.clear()
    async with run(app) as running:
        reader, writer = await running.connect(REQUEST)
        await running.wait_for(lambda: app.lifecycle.in_flight == 1)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: app.lifecycle.draining)
        late_reader, late_writer = await running.connect(REQUEST)
        assert (await late_reader.readline()).startswith(b"HTTP/1.1 503 ")
        late_writer.close()
        assert running.engine.calls == []
        app.engine.hold.set()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        writer.close()
        await running.task
        assert running.engine.calls == ["drain", "stop"]
    signal_is_ours_no_more = asyncio.get_running_loop().remove_signal_handler(number)
    assert not signal_is_ours_no_more


async def test_what_takes_too_long_is_given_up(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    app = local()
    app.engine.hold.clear()
    async with run(app, drain_timeout=0.1) as running:
        _, writer = await running.connect(REQUEST)
        await running.wait_for(lambda: app.lifecycle.in_flight == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await running.task
        assert running.engine.calls == ["drain", "stop"]
        writer.close()
    assert "drain timeout: unanswered requests get 503" in caplog.messages


async def test_an_idle_server_ends_within_a_short_drain_timeout(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    async with run(local(), drain_timeout=0) as running:
        os.kill(os.getpid(), signal.SIGTERM)
        await running.task
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_the_second_signal_exits_at_once(
    local: Local, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(server_module.os, "_exit", exits.append)
    app = local()
    app.engine.hold.clear()
    async with run(app) as running:
        _, writer = await running.connect(REQUEST)
        await running.wait_for(lambda: app.lifecycle.in_flight == 1)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: app.lifecycle.draining)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: exits == [status])
        app.engine.hold.set()
        writer.close()
