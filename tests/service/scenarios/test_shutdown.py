"""How `headfirst serve` ends: SIGTERM and Ctrl-C, draining, the second signal, the timeout."""

import contextlib
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.support.load import SCORE, Load
from tests.support.server_process import ServerProcess, StartServer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_sigterm_under_load_loses_no_accepted_request(
    start_server: StartServer, number: signal.Signals
) -> None:
    with start_server() as server:
        load = Load(server.url, 16, [SCORE], until_refused=True)
        load.wait_status(200, 5 * 16)
        server.signal(number)
        load.join()
        assert server.wait() == 0
    assert set(load.statuses) <= {200, 503}
    assert load.statuses.count(503) == 16
    assert load.broken == []
    answered = [line["status"] for line in server.lines if line.get("path") == "/v1/score"]
    assert sorted(answered) == sorted(load.statuses)


@contextlib.contextmanager
def stalled_request(server: ServerProcess) -> Iterator[socket.socket]:
    """The connection of an accepted request whose body is not all there yet."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 15\r\n\r\n{")
        page = ""
        while "headfirst_requests_in_progress 2.0" not in page:
            page = httpx.get(f"{server.url}/metrics", timeout=30).text
        yield connection


@pytest.fixture
def stalled(start_server: StartServer) -> Iterator[tuple[ServerProcess, socket.socket]]:
    with start_server("--drain-timeout", "20") as server, stalled_request(server) as connection:
        yield server, connection


def test_draining_is_told_and_the_running_request_finishes(
    stalled: tuple[ServerProcess, socket.socket],
) -> None:
    server, connection = stalled
    server.signal(signal.SIGTERM)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while (ready := client.get("/health/ready")).status_code == 200:
            pass
        assert ready.status_code == 503
        assert ready.json()["error"]["code"] == "draining"
        assert ready.headers["retry-after"] == "1"
        assert client.get("/health/live").status_code == 200
        refused = client.post("/v1/predict", json={"inputs": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    connection.sendall(b'"inputs": "a"}')
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert server.wait() == 0


def test_the_second_signal_exits_at_once(stalled: tuple[ServerProcess, socket.socket]) -> None:
    server, _ = stalled
    server.signal(signal.SIGINT)
    while httpx.get(f"{server.url}/health", timeout=30).status_code == 200:
        pass
    server.signal(signal.SIGINT)
    assert server.wait() == 130


def test_drain_timeout(start_server: StartServer) -> None:
    with start_server("--drain-timeout", "1") as server, stalled_request(server):
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert any("drain timeout" in str(line["message"]) for line in server.lines)
