"""The server of one process: what it says when it listens and when its engines are warm."""

import asyncio
import logging

import pytest

from service.processes.listening import bind
from service.processes.single import LocalServer
from tests.support.asgi import Local, wait_for
from tests.support.engines import FakeEngine

pytestmark = pytest.mark.anyio


class FakeFleet(FakeEngine):
    """As much of a fleet as its server asks."""

    def check(self) -> None:
        """No engine hangs."""

    def drain(self, timeout: float) -> bool:
        return True

    def stop(self) -> None:
        self.close()


async def test_it_tells_where_it_listens_and_when_it_is_ready(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headfirst")
    app = local()
    fleet = FakeFleet(app.engine.answer)
    fleet.state = "starting"
    server = LocalServer(app.app, fleet, 5)  # type: ignore[arg-type]
    listening = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await wait_for(lambda: server.started)
    await wait_for(lambda: f"playground {url}/  documentation {url}/docs" in caplog.messages)
    assert "ready" not in caplog.messages
    await asyncio.to_thread(setattr, fleet, "state", "ready")
    await wait_for(lambda: "ready" in caplog.messages)
    server.should_exit = True
    async with asyncio.timeout(20):
        await serving
    fleet.stop()
