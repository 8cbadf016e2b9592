"""A real server as a process of its own, and the app in this process around an engine of the test's own."""

import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.contract.messages import Answer, Message
from service.fleet.loading import card
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.app import HeadfirstApp, create_app
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.engines import FakeEngine, compute
from tests.support.spy import Make, running_engines
from tests.support.tiny import tiny_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.load(bundle_path, "cpu")


@pytest.fixture
def make(bundle: Bundle) -> Iterator[Make]:
    """Starts engines: `make(max_batch_tokens=10)`."""
    yield from running_engines(bundle)


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of ours, and with one thread a process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADFIRST_")}
    return kept | {"OMP_NUM_THREADS": "1"} | variables


class ServerProcess:
    """`headfirst serve` on a free port, its log read line by line."""

    PROGRAM = ("-m", "service.cli")

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *self.PROGRAM, "serve", "--port", "0", "--log-format", "json", *arguments],
            env=clean_environment(**environment),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        number = dict(itertools.pairwise(arguments)).get("--http-workers", "0")
        self._workers = int(number) if number != "1" else 0  # One is known by its answers.
        self.lines: list[dict[str, object]] = []
        self.url = ""
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._listening.wait(60) or not self.url:
            self.kill()
            raise RuntimeError(f"the server did not start: {self.lines}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            record = json.loads(line) if line.startswith("{") else {"raw": line}
            self.lines.append(record)
            if "url" in record:
                self.url = str(record["url"])
                self._listening.set()
        self._listening.set()

    def wait_ready(self) -> None:
        """Asks until the server is ready; each answer takes its time, so this is no spinning. Of several
        workers, until each has said so: the next connection may be any one's."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while client.get("/health/ready").status_code != 200:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended: {self.lines}")
        end = time.monotonic() + 60
        while self._workers > len(
            {line.get("process") for line in self.lines if line.get("message") == "ready"}
        ):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"not all workers are ready: {self.lines}")
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """The exit status; all lines are there afterwards."""
        status = self.process.wait(seconds)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()


@pytest.fixture(scope="session")
def start_server(bundle_path: Path) -> Callable[..., contextlib.AbstractContextManager[ServerProcess]]:
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
def server(
    start_server: Callable[..., contextlib.AbstractContextManager[ServerProcess]],
    request: pytest.FixtureRequest,
) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as it was; the same tests for either way to run it."""
    limits = ("--max-body-bytes", "2000000", "--max-input-words", "20000")
    with start_server("--http-workers", request.param, *limits) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


class LocalApp:
    """The app in this process, its engine a double."""

    def __init__(self, bundle: Bundle, settings: Settings, answer: Callable[[Message], Answer]) -> None:
        self.engine = FakeEngine(answer)
        self.metrics = Metrics(bundle.config.n_clusters)
        served = Served(bundle, self.engine, card(bundle), describe(bundle))
        self.app: HeadfirstApp = create_app(settings, Catalog([served]), self.metrics)
        self.lifecycle = self.app.context.lifecycle

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"headfirst_{name}", labels)
        assert value is not None, f"no series headfirst_{name}{labels}"
        return value


@pytest.fixture
def local(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalApp]]:
    """Makes apps in this process: `local(answer=..., max_inputs=3)`."""
    for name in [name for name in os.environ if name.startswith("HEADFIRST_")]:
        monkeypatch.delenv(name)
    made: list[LocalApp] = []

    def make(answer: Callable[[Message], Answer] | None = None, **settings: object) -> LocalApp:
        answer = answer or (lambda message: compute(bundle, message))
        app = LocalApp(bundle, Settings(**settings), answer)  # type: ignore[arg-type]
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
