"""Servers and apps for the tests of service/, with the tiny model."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.settings.settings import Settings
from tests.support.asgi import Answering, Local, LocalApp
from tests.support.engines import compute
from tests.support.server_process import ServerProcess, StartServer
from tests.support.spy import Make, running_engines
from tests.support.tiny import spelled_bundle, tiny_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.load(bundle_path, "cpu")


@pytest.fixture(scope="session")
def spelled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spelled_bundle(tmp_path_factory.mktemp("spelled"))


@pytest.fixture(scope="session")
def spelled(spelled_path: Path) -> Bundle:
    """Of our tokenization's second version, with a spelling model."""
    return Bundle.load(spelled_path, "cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the test's commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(bundle: Bundle) -> Iterator[Make]:
    """Starts engines: `make(max_batch_tokens=10)`."""
    yield from running_engines(bundle)


@pytest.fixture(scope="session")
def start_server(bundle_path: Path) -> StartServer:
    """Starts a server with the tiny bundle and more arguments, as a context."""

    @contextlib.contextmanager
    def start(*arguments: str, **environment: str) -> Iterator[ServerProcess]:
        server = ServerProcess("--model", str(bundle_path), *arguments, **environment)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()

    return start


@pytest.fixture(
    scope="session",
    params=["0", pytest.param("2", marks=pytest.mark.slow)],
    ids=["one process", "two workers"],
)
def server(start_server: StartServer, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it was; the same tests for either way to run it."""
    limits = ("--max-body-bytes", "2000000", "--max-input-words", "20000")
    with start_server("--http-workers", request.param, *limits) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def local(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """Makes apps in this process: `local(answer=..., of=bundle, max_inputs=3)`."""
    for name in [name for name in os.environ if name.startswith("HEADFIRST_")]:
        monkeypatch.delenv(name)
    made: list[LocalApp] = []

    def make(answer: Answering | None = None, of: Bundle = bundle, **settings: object) -> LocalApp:
        answer = answer or (lambda message: compute(of, message))
        app = LocalApp(of, Settings(**settings), answer)  # type: ignore[arg-type]
        made.append(app)
        return app

    yield make
    for app in made:
        app.engine.close()
        app.app.context.workers.shutdown()


@pytest.fixture
def no_logging_left() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, quiet = list(root.handlers), root.level, logging.getLogger("asyncio").level
    names = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")
    switches = {name: getattr(logging, name) for name in names}
    yield
    for name, value in switches.items():
        setattr(logging, name, value)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(quiet)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
