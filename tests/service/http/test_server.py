"""Starting and draining in this process, real signals and sockets included."""

import asyncio
import logging
import os
import signal

import pytest

from service.http import server as server_module
from tests.support.asgi import Local, LocalApp
from tests.support.local_server import Running, run

pytestmark = pytest.mark.anyio

REQUEST = b'POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 15\r\n\r\n{"inputs": "a"}'


async def waiting_request(
    app: LocalApp, running: Running
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request that the engine, which is held, does not answer yet."""
    ends = await running.connect(REQUEST)
    await running.wait_for(lambda: app.admission.in_flight == 1)
    return ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_first(local: Local, number: signal.Signals) -> None:
    app = local()
    app.engine.hold.clear()
    async with run(app) as running:
        reader, writer = await waiting_request(app, running)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: app.admission.draining)
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
        _, writer = await waiting_request(app, running)
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
        _, writer = await waiting_request(app, running)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: app.admission.draining)
        os.kill(os.getpid(), number)
        await running.wait_for(lambda: exits == [status])
        app.engine.hold.set()
        writer.close()
