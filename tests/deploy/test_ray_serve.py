"""deploy/ray/serve_app.py on a real Ray with two replicas: the same HTTP contract, and sessions that stay."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.serving.processes import free_port
from tests.deploy.ray_environment import environment, ray_python
from tests.deploy.tools import ROOT
from tests.support.http_contract import HttpContract
from tests.support.otel import PARENT, TRACE, Collector, collecting
from tests.support.tiny import tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class RayServer:
    """The application on two replicas."""

    def __init__(self, bundle_path: Path, log: Path, collector: Collector) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = {
            "model": str(bundle_path),
            "threads": 1,
            "min_replicas": 2,
            "max_replicas": 2,
            "cpus": 0.5,
        }
        arguments |= {"max_body_bytes": 2_000_000, "max_input_words": 20_000}
        arguments |= {"otel_endpoint": collector.url}
        with log.open("wb") as opened:
            self.process = subprocess.Popen(
                [ray_python(), "-m", "tests.deploy.ray_server", str(port), json.dumps(arguments)],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=opened,
                text=True,
            )
        assert self.process.stdout is not None
        ready = any(line == "ready\n" for line in self.process.stdout)
        assert ready, log.read_text()

    def stop(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def server(
    bundle_path: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[RayServer]:
    running = RayServer(bundle_path, tmp_path_factory.mktemp("ray") / "log", collector)
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(server: RayServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


class TestContract(HttpContract):
    """The contract, as every other server of ours has to keep it."""


def replica(client: httpx.Client, **headers: str) -> str:
    answer = client.post("/v1/predict", json={"inputs": "Thank you", "k": 3}, headers=headers)
    return str(answer.raise_for_status().headers["x-replica"])


def test_a_session_keeps_to_its_replica(client: httpx.Client) -> None:
    homes: dict[str, Counter[str]] = {}
    for _ in range(5):
        for session in map(str, range(16)):
            homes.setdefault(session, Counter())[replica(client, **{"X-Session-Id": session})] += 1
    assert all(len(home) == 1 for home in homes.values())
    assert len({next(iter(home)) for home in homes.values()}) == 2


def test_requests_without_a_session_are_spread(client: httpx.Client) -> None:
    assert len({replica(client) for _ in range(40)}) == 2


def test_errors_have_the_one_shape(client: httpx.Client) -> None:
    for path, body, status in [
        ("/v1/predict", b"no json", 400),
        ("/v1/predict", b'{"inputs": "the", "k": 0}', 422),
        ("/v1/nothing", b"{}", 404),
        ("/v1/score", b" " * 2_000_001, 413),
    ]:
        answer = client.post(path, content=body)
        assert answer.status_code == status
        assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
        assert answer.headers["x-request-id"]


def test_health_metrics_and_playground(client: httpx.Client) -> None:
    assert client.get("/health/ready").status_code == 200
    assert "headfirst_requests_total" in client.get("/metrics").text
    assert "<html" in client.get("/").text


def test_spans_arrive(client: httpx.Client, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    client.post("/v1/predict", json={"inputs": "Thank you"}, headers=headers).raise_for_status()

    def spans() -> dict[str, str]:
        return {
            span.name: span.parent_span_id.hex()
            for _, request in list(collector.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == TRACE
        }

    deadline = time.monotonic() + 60  # A replica sends what it has every 5 s.
    while "POST /v1/predict" not in spans():
        assert time.monotonic() < deadline, "no span has arrived"
        time.sleep(0.1)
    assert set(spans()) == {"POST /v1/predict", "tokenize", "queue", "body", "topk"}
    assert spans()["POST /v1/predict"] == PARENT


def test_a_reload_says_what_to_do_instead(client: httpx.Client) -> None:
    answer = client.post("/admin/reload")
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["code"] == "not_reloadable"
    assert "deploy the application again" in error["message"]


def test_the_config_file_is_one_of_ray_serve(bundle_path: Path) -> None:
    program = (
        "import sys, yaml\n"
        "from ray.serve.schema import ServeDeploySchema\n"
        "from deploy.ray.serve_app import app\n"
        "config = ServeDeploySchema.model_validate(yaml.safe_load(open('deploy/ray/config.yaml')))\n"
        "(only,) = config.applications\n"
        "assert only.import_path == 'deploy.ray.serve_app:app'\n"
        "app(only.args)\n"
        "app({'threads': '2', 'cpus': '0.5', 'min_replicas': '2', 'model': sys.argv[1]})\n"
        "try: app({'thread': 2})\n"
        "except ValueError as error: assert str(error).startswith('thread is neither'), error\n"
        "else: raise AssertionError\n"
    )
    done = subprocess.run(
        [ray_python(), "-c", program, bundle_path],
        cwd=ROOT,
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
