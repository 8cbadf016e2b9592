"""The walk of one request through the code: which files of ours it touches, and how often it comes back.

A walk is the calls of functions of ours, for each thread in the order in which they happen, from the bytes of
the request to the first byte of its answer that goes to the socket; a coroutine that goes on counts as a
call. It touches a file by calling a function of it. It comes back when a call leads from one file to another
that the same thread has been in before.
"""

import asyncio
import sys
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import TypeVar

from models.bundle import Bundle
from service.engine.engine import Engine
from service.fleet.loading import card
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.app import create_app
from service.http.server import Server
from service.metrics.registry import Metrics
from service.processes.listening import bind
from service.settings.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("service", "models")

T = TypeVar("T")

Call = tuple[str, str]
"""A file, relative to the repository, and the qualified name of a function in it."""


@dataclass(frozen=True)
class Walk:
    """What was called for a request.

    Args:
        threads: the calls of each thread until the answer is written.
        order: every function that was called, at its first time, also after that.
    """

    threads: list[list[Call]]
    order: list[Call]

    @property
    def files(self) -> set[str]:
        """The files that it touches."""
        return {file for calls in self.threads for file, _ in calls}

    @property
    def returns(self) -> list[Call]:
        """The calls that come back into a file that the thread was in before, and has left."""
        found = []
        for calls in self.threads:
            seen: set[str] = set()
            for file, visit in groupby(calls, key=lambda call: call[0]):
                if file in seen:
                    found.append(next(visit))
                seen.add(file)
        return found


class Profile:
    """Notes the calls of our functions in this thread, and in all that start while it is `on`."""

    def __init__(self) -> None:
        self.calls = 0
        """How many there were."""
        self._threads: defaultdict[int, list[Call]] = defaultdict(list)
        self._order: dict[Call, None] = {}
        self._known: dict[CodeType, Call | None] = {}
        self._begun = self._written = False

    @contextmanager
    def on(self) -> Iterator[None]:
        """Notes calls as long as this is open."""
        before = sys.getprofile()
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(None)  # type: ignore[arg-type]

    def begin(self) -> None:
        """The next bytes from a client begin a walk."""
        self._begun = self._written = False

    def walk(self) -> Walk:
        """What was called since these bytes came."""
        return Walk([list(calls) for calls in self._threads.values()], list(self._order))

    async def quiet(self) -> None:
        """Returns when no thread of ours has anything left to do."""
        seen = -1
        while seen != (seen := self.calls):  # noqa: ASYNC110 -- the threads tell nobody
            await asyncio.sleep(0.05)

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self._known:
            self._known[code] = _ours(code)
        call = self._known[code]
        if call is None:
            if self._begun and code.co_qualname == "_SelectorSocketTransport.write":
                self._written = True  # Set once: other threads come here, too.
            return
        self.calls += 1
        if not self._begun and call[1] == "HttpProtocol.data_received":
            self._begun = True
            self._threads.clear()
            self._order.clear()
        self._order.setdefault(call)
        if not self._written:
            self._threads[threading.get_ident()].append(call)


def _ours(code: CodeType) -> Call | None:
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in ROOMS:
        return None
    return str(path.relative_to(ROOT)), code.co_qualname


def walks_of_two_predictions(bundle: Bundle) -> list[Walk]:
    """The walks of two equal predictions, one after the other, through a server in this process."""
    profile = Profile()

    async def client(port: int) -> list[Walk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"inputs": "Thank you"}'
        request = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s" % (
            len(body),
            body,
        )
        walks = []
        for _ in range(2):
            await profile.quiet()
            profile.begin()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            await profile.quiet()
            walks.append(profile.walk())
        writer.close()
        await writer.wait_closed()
        return walks

    with profile.on():
        return asyncio.run(with_server(bundle, client))


async def with_server(bundle: Bundle, client: Callable[[int], Awaitable[T]]) -> T:
    """What `client` returns, which is called with the port of a real server in this process."""
    settings = Settings()
    metrics = Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, settings, metrics)
    app = create_app(settings, Catalog([Served(bundle, engine, card(bundle), describe(bundle))]), metrics)
    listening = bind("127.0.0.1", 0)
    server = Server(app, engine, drain_timeout=5)
    engine.start()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(30):
        await engine.changes.until(lambda: engine.state != "starting")
        while not server.started:  # noqa: ASYNC110 -- uvicorn announces nothing
            await asyncio.sleep(0.001)
        found = await client(listening.getsockname()[1])
    server.should_exit = True
    await serving
    engine.stop()
    return found
