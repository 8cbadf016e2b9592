"""docs/life-of-a-request.md tells what happens: its functions exist, a request calls them in this order."""

import ast
import asyncio
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest

from models.bundle import Bundle
from service.engine.engine import Engine
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.api.models import card
from service.http.app import create_app
from service.http.server import Server, bind
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.tiny import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "life-of-a-request.md").read_text("utf-8")
STEPS = re.findall(
    r"^(\d)\. (.*?)(?=^\d\. |^`POST|\Z)", PAGE.partition("## With")[0], re.DOTALL | re.MULTILINE
)
_REFERENCE = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
UNORDERED = {"Call.work", "wait_for_all", "Batcher.next", "Bucket", "Predict"}
"""Called within a step, but not in the order of its sentences; or no function."""


def symbols(path: Path) -> Iterator[str]:
    """All functions, classes and methods of a file, as they are named in Python."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


@pytest.mark.parametrize(("file", "name"), sorted(set(_REFERENCE.findall(PAGE))))
def test_what_is_named_exists(file: str, name: str) -> None:
    assert name in set(symbols(ROOT / file))


def test_there_are_eight_steps() -> None:
    assert [number for number, _ in STEPS] == list("12345678")
    assert all(_REFERENCE.search(text) for _, text in STEPS)


class Calls:
    """The functions of ours that any thread calls, each at its first time, in order."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str], None] = {}
        self._known: dict[CodeType, tuple[str, str] | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self._known:
            path = Path(code.co_filename)
            ours = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("service", "models")
            self._known[code] = (str(path.relative_to(ROOT)), code.co_qualname) if ours else None
        name = self._known[code]
        if name is not None:
            self.names.setdefault(name)


async def one_request(bundle: Bundle, begin: Callable[[], None]) -> bytes:
    """What a real server in this process answers to one request; `begin` is called just before it."""
    settings = Settings()
    metrics = Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, settings, metrics)
    served = Served(bundle, engine, card(bundle), describe(bundle))
    app = create_app(settings, Catalog([served]), metrics)
    listening = bind("127.0.0.1", 0)
    server = Server(app, engine, drain_timeout=5)
    engine.start()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(30):
        while not server.started or engine.state == "starting":  # noqa: ASYNC110 -- they tell nobody
            await asyncio.sleep(0.001)
        begin()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        body = b'{"inputs": "Thank you"}'
        head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await serving
    engine.stop()
    return answer


def test_a_request_calls_all_of_them_in_this_order(tmp_path: Path) -> None:
    bundle = Bundle.load(tiny_bundle(tmp_path), "cpu")
    calls = Calls()
    before = sys.getprofile()
    threading.setprofile(calls)  # For the engine's threads, which are there before the request.
    sys.setprofile(calls)
    try:
        answer = asyncio.run(one_request(bundle, calls.names.clear))
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert answer.startswith(b"HTTP/1.1 200 ")
    called = list(calls.names)
    told = [reference for _, text in STEPS for reference in _REFERENCE.findall(text)]
    missing = [name for _, name in told if not any(qualname == name for _, qualname in called)]
    # An idle engine's thread is in `Batcher.next` before the request comes; the other two are classes.
    assert set(missing) <= {"Batcher.next", "Bucket", "Predict"}
    order = [name for _, name in told if name not in UNORDERED]
    places = [[qualname for _, qualname in called].index(name) for name in order]
    assert places == sorted(places), [order[i] for i in range(1, len(order)) if places[i] < places[i - 1]]
