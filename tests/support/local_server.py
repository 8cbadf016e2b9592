"""A server in this process's event loop, on a socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from service.http.server import Server
from service.processes.listening import bind
from tests.support.asgi import LocalApp


class Ending:
    """The engine as a server sees it at its end: notes the calls."""

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

    async def connect(
        self, data: bytes = b"", *, receive_buffer: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection, whose system keeps about `receive_buffer` bytes that it has not read."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(data)
        return reader, writer

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 -- the server announces no progress
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
