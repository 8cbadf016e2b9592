"""`headfirst serve --http-workers N`: several processes that are one server, whichever of them ends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.bundle import Bundle
from service.commands import serve
from service.http.telemetry.endpoints import STATUSES
from service.metrics.registry import Metrics
from service.processes.children import MAX_QUICK_FAILURES
from tests.support.http import BODY, samples_once_counted
from tests.support.load import SCORE, Load, load
from tests.support.server_process import (
    ServerProcess,
    StartServer,
    ask,
    assert_refused,
    failed_start,
    page_of,
    pid_of,
    runs,
    until,
)

WORKERS = ("worker-1", "worker-2")


@pytest.fixture(scope="module")
def workers(start_server: StartServer) -> Iterator[ServerProcess]:
    """For all tests after which it is as it was."""
    with start_server("--http-workers", "2") as server:
        yield server


@pytest.fixture
def own_workers(start_server: StartServer) -> Iterator[ServerProcess]:
    """For one test that ends it."""
    with start_server("--http-workers", "2") as server:
        yield server


def ask_both(server: ServerProcess) -> int:
    """Asks until both workers have answered; how often."""
    seen: set[str] = set()
    count = 0
    while len(seen) < 2:
        status, worker = ask(server)
        assert status == 200
        seen.add(worker)
        count += 1
    return count


def test_one_server_of_several_processes(workers: ServerProcess, bundle: Bundle) -> None:
    before = page_of(workers)
    count = ask_both(workers)
    with httpx.Client(base_url=workers.url, timeout=30) as client:
        samples_once_counted(client, before["queue_duration_seconds_count", ()] + count)
        model_card = client.get("/v1/models").json()["data"][0]
        example = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["responses"]
    # Whoever answers shows the same page: all that was asked of either.
    pages = [page_of(workers) for _ in range(3)]
    for page in pages:
        for key in (
            ("requests_total", (("endpoint", "/v1/predict"), ("status", "200"))),
            ("request_duration_seconds_count", (("endpoint", "/v1/predict"),)),
            ("queue_duration_seconds_count", ()),
            ("cluster_rows_total", ()),
        ):
            assert page[key] - before[key] == count
        assert page["requests_in_progress", ()] == 1
        assert page["engine_ready", ()] == 1
        assert page["queue_depth", ()] == 0
        assert page["process_cpu_seconds_total", ()] > 0
        assert page["process_resident_memory_bytes", ()] > 1e6
        (model,) = [dict(labels) for name, labels in page if name == "model_info"]
        assert (model["model"], model["device"]) == ("tiny", "cpu")
    # The same series as one process has.
    metrics = Metrics(bundle.config.n_clusters)
    metrics.describe_endpoints(STATUSES)
    one = {
        (sample.name.removeprefix("headfirst_"), tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name.startswith("headfirst_")
        for sample in family.samples
    }
    ours = {key for key in pages[0] if not key[0].startswith(("process_", "python_", "model_info"))}
    assert ours == one
    # What is said once, or once by each engine process: the supervisor perhaps after somebody was answered.
    engines = 1 + int(pages[0]["engine_restarts_total", ()])
    until(lambda: sum(line["message"] == "the engine is warm" for line in workers.lines) >= engines)
    loaded = [line["process"] for line in workers.lines if "loaded" in str(line["message"])]
    assert loaded == ["engine"] * engines
    assert [line["process"] for line in workers.lines if "url" in line] == ["supervisor"]
    ready = [line["process"] for line in workers.lines if line["message"] == "the engine is warm"]
    assert ready == ["supervisor"] * engines
    # Each worker by itself: when it answers.
    assert {line["process"] for line in workers.lines if line["message"] == "ready"} == set(WORKERS)
    assert all(line.get("process") and line.get("pid") for line in workers.lines)
    assert model_card["parameters"] == bundle.model.parameter_count()
    assert model_card["kernels"]["softmax"]
    assert example["200"]["content"]["application/json"]["example"]["results"]


def test_whoever_reads_that_it_is_ready_is_answered(bundle_path: Path) -> None:
    server = ServerProcess("--model", str(bundle_path), "--http-workers", "1")
    try:
        until(lambda: any(line["message"] == "ready" for line in server.lines), 30)
        assert httpx.post(f"{server.url}/v1/predict", content=BODY, timeout=30).status_code == 200
    finally:
        server.stop()


def test_engine_process_kill_9_under_load_two_workers(workers: ServerProcess) -> None:
    kill_9_under_load(workers)


def test_engine_process_kill_9_under_load_one_worker(start_server: StartServer) -> None:
    with start_server("--http-workers", "1") as server:
        kill_9_under_load(server)


def kill_9_under_load(workers: ServerProcess) -> None:
    """Ready again in under 10 s; every request is answered, by 200 or 503; none hangs."""
    before = page_of(workers)["engine_restarts_total", ()]
    with (
        load(workers.url, 8, keep_alive=False) as clients,
        httpx.Client(base_url=workers.url, timeout=30) as client,
    ):
        clients.wait_status(200)
        engine = pid_of(workers, "engine")
        # However slow the clients are, some ask while there is no engine: it cannot start before that.
        workers.signal(signal.SIGSTOP)
        try:
            os.kill(engine, signal.SIGKILL)
            killed = time.monotonic()
            clients.wait_status(503, 5)
        finally:
            workers.signal(signal.SIGCONT)
        while (ready := client.get("/health/ready")).status_code != 200:
            assert ready.json()["error"]["code"] == "loading"
            assert ready.headers["retry-after"]
            assert client.get("/health/live").status_code == 200
            assert time.monotonic() < killed + 60
        seconds = time.monotonic() - killed
        clients.wait_status(200)
    assert set(clients.statuses) == {200, 503}
    assert clients.unsent == clients.broken == []
    assert all(answer.headers["retry-after"] for answer in clients.answers if answer.status == 503)
    until(lambda: pid_of(workers, "engine") != engine)  # The log may be read later than the answers.
    assert not Path(f"/proc/{engine}").exists()
    (line,) = [line for line in workers.lines if line.get("ended") == "engine"]
    assert (line["signal"], line["level"]) == ("SIGKILL", "error")
    assert seconds < 10
    assert page_of(workers)["engine_restarts_total", ()] == before + 1


def test_a_worker_is_killed(workers: ServerProcess) -> None:
    before = page_of(workers)
    count = ask_both(workers)
    first = pid_of(workers, "worker-1")
    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(workers, "worker-1") != first)
    count += ask_both(workers)
    page = page_of(workers)
    key = ("requests_total", (("endpoint", "/v1/predict"), ("status", "200")))
    assert page[key] - before[key] == count
    assert page["requests_in_progress", ()] == 1
    assert not Path(f"/proc/{first}").exists()


def test_sigterm_under_load_loses_nothing(own_workers: ServerProcess) -> None:
    children = [pid_of(own_workers, name) for name in ("engine", *WORKERS)]
    clients = Load(own_workers.url, 16, [SCORE], until_refused=True)
    clients.wait_status(200, 5 * 16)
    own_workers.signal(signal.SIGTERM)
    clients.join()
    assert own_workers.wait() == 0
    assert set(clients.statuses) <= {200, 503}
    answered = [line["status"] for line in own_workers.lines if line.get("path") == "/v1/score"]
    assert sorted(answered) == sorted(clients.statuses)
    assert not any(map(runs, children))


def test_the_children_of_a_killed_supervisor_end(bundle_path: Path) -> None:
    server = ServerProcess("--model", str(bundle_path), "--http-workers", "2")
    try:
        server.wait_ready()
        children = [pid_of(server, name) for name in ("engine", *WORKERS)]
        assert all(map(runs, children))
    finally:
        server.kill()  # Returns when the log has ended, hence all who could write to it.
    until(lambda: not any(map(runs, children)))


def test_deadlines_are_kept_while_the_engine_hangs(workers: ServerProcess) -> None:
    engine = pid_of(workers, "engine")
    os.kill(engine, signal.SIGSTOP)
    try:
        body = json.dumps({"inputs": "Thank you", "timeout_ms": 50})
        for _ in range(4):
            assert ask(workers, body=body)[0] == 504
        assert ask(workers, "/health/live", None)[0] == 200
    finally:
        os.kill(engine, signal.SIGCONT)
    assert ask(workers)[0] == 200


@pytest.mark.slow
def test_backpressure(start_server: StartServer) -> None:
    limits = ("--max-queue-requests", "2", "--max-inputs", "2", "--max-queue-tokens", "300")
    with (
        start_server("--http-workers", "2", *limits) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        large = client.post("/v1/score", json={"inputs": "you " * 301})
        assert large.status_code == 422
        assert large.json()["error"]["code"] == "too_many_words"
        with load(server.url, 8, keep_alive=False) as clients:
            clients.wait_status(429, 1)
            clients.wait_status(200, 1)
        assert set(clients.statuses) == {200, 429}
        for answer in clients.answers:
            assert (answer.status == 429) == ("retry-after" in answer.headers)


@pytest.mark.slow
def test_a_bundle_that_is_gone_ends_the_server(bundle_path: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle_path, tmp_path / "tiny")
    server = ServerProcess("--model", str(tmp_path / "tiny"), "--http-workers", "1")
    try:
        server.wait_ready()
        (tmp_path / "tiny" / "config.json").unlink()
        os.kill(pid_of(server, "engine"), signal.SIGKILL)
        assert server.wait(60) == 2
    finally:
        server.stop()
    assert "config.json is missing" in str(server.lines[-1]["raw"])


@pytest.mark.slow
def test_an_engine_that_dies_again_and_again_is_given_up(own_workers: ServerProcess) -> None:
    server = own_workers
    for _ in range(MAX_QUICK_FAILURES):
        engine = pid_of(server, "engine")
        os.kill(engine, signal.SIGKILL)
        until(lambda: server.process.poll() is not None or pid_of(server, "engine") != engine)  # noqa: B023
    assert server.wait() == 1
    assert any("gives up" in str(line["message"]) for line in server.lines)


def test_a_broken_bundle_is_one_line() -> None:
    assert_refused(
        failed_start("--model", "/no/such/bundle", "--port", "0", "--http-workers", "2"), "/no/such/bundle"
    )


@pytest.mark.parametrize("arguments", [(), ("--http-workers", "2")])
def test_a_taken_port_is_one_line(
    workers: ServerProcess, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    port = workers.url.rpartition(":")[2]
    assert serve.run(["--port", port, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "in use" in line


@pytest.mark.slow
def test_idle_processes_use_no_cpu(workers: ServerProcess) -> None:
    ask_both(workers)
    pids = [workers.process.pid, *(pid_of(workers, name) for name in ("engine", *WORKERS))]

    def ticks() -> int:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats)

    before, started = ticks(), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(10)
        with contextlib.suppress(TimeoutError):
            nobody.accept()
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    # uvicorn looks at the time ten times a second: 1 or 2 thousandths of a core for each worker.
    assert used / (time.monotonic() - started) < 0.01
