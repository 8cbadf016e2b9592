"""The walk of one request through the code: which files of ours it touches, and how often it comes back.

A walk is the list of calls of functions of ours, a list for each thread, in the order in which they happen;
a coroutine that goes on counts as a call. It touches a file by calling a function of it. It comes back when a
call leads from one file to another that the same thread has been in before.
"""

import asyncio
import sys
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType

from models.bundle import Bundle
from service.engine.engine import Engine
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.api.models import card
from service.http.app import create_app
from service.http.server import Server, bind
from service.metrics.registry import Metrics
from service.settings.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("service", "models")

Call = tuple[str, str]
"""A file, relative to the repository, and the qualified name of a function in it."""


class Walk:
    """Notes the calls of our functions in every thread that starts while it is noted (`noted`).

    With `begin`, only what follows is kept, up to the first byte of an answer that is written to a socket.
    """

    def __init__(self) -> None:
        self._calls: defaultdict[int, list[Call]] = defaultdict(list)
        self._known: dict[CodeType, Call | None] = {}
        self._state = "before"

    @contextmanager
    def noted(self) -> Iterator[None]:
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
        """The next bytes from a client begin the walk."""
        self._calls.clear()
        self._state = "waiting"

    @property
    def calls(self) -> list[list[Call]]:
        """The calls of each thread, in their order."""
        return list(self._calls.values())

    @property
    def files(self) -> set[str]:
        """The files that it touches."""
        return {file for calls in self.calls for file, _ in calls}

    @property
    def returns(self) -> list[Call]:
        """The calls that come back into a file that the thread was in before, and has left."""
        found = []
        for calls in self.calls:
            seen: set[str] = set()
            for file, visit in groupby(calls, key=lambda call: call[0]):
                if file in seen:
                    found.append(next(visit))
                seen.add(file)
        return found

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or self._state == "over":
            return
        code = frame.f_code
        if code not in self._known:
            self._known[code] = _ours(code)
        call = self._known[code]
        if call is None:
            if code.co_qualname == "_SelectorSocketTransport.write" and self._state == "walking":
                self._state = "over"
            return
        if self._state == "waiting" and call[1] == "HttpProtocol.data_received":
            self._calls.clear()
            self._state = "walking"
        self._calls[threading.get_ident()].append(call)


def _ours(code: CodeType) -> Call | None:
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in ROOMS:
        return None
    return str(path.relative_to(ROOT)), code.co_qualname


def walk_of_second_request(bundle: Bundle) -> tuple[Walk, bytes]:
    """The walk of the second of two equal predictions through a server in this process, and its answer."""
    walk = Walk()

    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"inputs": "Thank you"}'
        request = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        for begin in (lambda: None, walk.begin):
            begin()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            answer = head + await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()
        return answer

    with walk.noted():
        answer = asyncio.run(with_server(bundle, client))
    return walk, answer


async def with_server(bundle: Bundle, client: Callable[[int], Awaitable[bytes]]) -> bytes:
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
        while not server.started or engine.state == "starting":  # noqa: ASYNC110 -- they tell nobody
            await asyncio.sleep(0.001)
        answer = await client(listening.getsockname()[1])
    server.should_exit = True
    await serving
    engine.stop()
    return answer
