"""An engine that hangs: nobody waits for it for ever, and it does not stay."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.contract.errors import NotReady
from service.engine.engine import JOIN_SECONDS
from tests.support.server_process import ServerProcess, page_of, pid_of, until
from tests.support.spy import BLOCKER, Make, error_of, predict, submit

HANGS = 77
"""The k at which the engine of a `HangingServer` hangs."""

LIMIT = 2
"""Its `--engine-timeout`, in seconds: a busy machine keeps a process waiting for less."""


class HangingServer(ServerProcess):
    """The real one, but for a model that comes to no end when it is asked for so many words."""

    PROGRAM = (
        "-c",
        f"""
import sys, threading
from service.engine.runner import Runner
answer = Runner.answer
def hang(runner, slices):
    if any(getattr(job.message, "k", 0) == {HANGS} for piece in slices for job in piece.node.jobs):
        print('{{"message": "hangs"}}', file=sys.stderr, flush=True)
        threading.Event().wait()
    return answer(runner, slices)
Runner.answer = hang
from service.cli import main
main()
""",
    )


def test_a_batch_that_is_run_is_timed(make: Make) -> None:
    watched = make()
    assert watched.engine.stalled == 0
    with watched.spy.closed(watched.engine, BLOCKER):
        first = watched.engine.stalled
        assert 0 < first < watched.engine.stalled
    watched.ask(predict([5]))
    until(lambda: watched.engine.stalled == 0)


def test_who_waits_for_an_engine_that_is_given_up_is_told(make: Make) -> None:
    watched = make(engine_threads=1)
    with contextlib.suppress(NotReady), watched.spy.closed(watched.engine, BLOCKER):
        (waiting,) = submit(watched, predict([5]))
        watched.engine.fail("its batch made no progress for 1 s")
        error = error_of(waiting)
        assert isinstance(error, NotReady)
        assert "made no progress" in error.message
        assert (watched.engine.state, watched.sample("engine_ready")) == ("dead", 0)
        with pytest.raises(NotReady, match="made no progress"):
            watched.engine.submit([predict([5])])
        started = time.monotonic()
        watched.engine.stop()  # What hangs is not waited for.
        assert time.monotonic() - started < JOIN_SECONDS / 2


@contextlib.contextmanager
def hanging(bundle_path: Path, workers: str) -> Iterator[ServerProcess]:
    limits = ("--engine-timeout", str(LIMIT), "--engine-threads", "1")
    server = HangingServer("--model", str(bundle_path), "--http-workers", workers, *limits)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def ask(server: ServerProcess, k: int) -> int:
    body = {"inputs": "Thank you", "k": k, "timeout_ms": 20000}
    return httpx.post(f"{server.url}/v1/predict", json=body, timeout=30).status_code


def test_hung_engine_in_one_process_fails_the_liveness(bundle_path: Path) -> None:
    with hanging(bundle_path, "0") as server, ThreadPoolExecutor(2) as pool:
        assert ask(server, 3) == 200
        waiting = [pool.submit(ask, server, HANGS)]
        until(lambda: any(line.get("message") == "hangs" for line in server.lines))
        waiting.append(pool.submit(ask, server, 3))
        # Both are told long before their own deadlines.
        assert [future.result(15) for future in waiting] == [503, 503]
        live = httpx.get(f"{server.url}/health/live", timeout=30)
        assert (live.status_code, live.json()["error"]["code"]) == (503, "engine_dead")
        assert f"its batch made no progress for {LIMIT} s" in live.json()["error"]["message"]
        assert httpx.get(f"{server.url}/health/ready", timeout=30).status_code == 503
        assert page_of(server)["engine_ready", ()] == 0


def test_hung_engine_process_is_restarted(bundle_path: Path) -> None:
    with hanging(bundle_path, "1") as server:
        first = pid_of(server, "engine")
        assert ask(server, 3) == 200
        assert ask(server, HANGS) == 503
        assert httpx.get(f"{server.url}/health/live", timeout=30).status_code == 200
        until(lambda: pid_of(server, "engine") != first)
        server.wait_ready()
        assert ask(server, 3) == 200
        assert page_of(server)["engine_restarts_total", ()] == 1
        (line,) = [line for line in server.lines if line.get("ended") == "engine"]
        assert (line["status"], line["seconds"]) == (1, 0.1)


def test_stopped_engine_process_is_killed_and_restarted(bundle_path: Path) -> None:
    """Not even its event loop runs, so that it cannot tell that it hangs."""
    with hanging(bundle_path, "1") as server:
        first = pid_of(server, "engine")
        os.kill(first, signal.SIGSTOP)
        until(lambda: pid_of(server, "engine") != first)
        server.wait_ready()
        assert ask(server, 3) == 200
        assert page_of(server)["engine_restarts_total", ()] == 1
        (line,) = [line for line in server.lines if line.get("ended") == "engine"]
        assert line["signal"] == "SIGKILL"
        assert any("hangs: it is killed" in str(line["message"]) for line in server.lines)


def test_a_slow_engine_is_left_alone(bundle_path: Path) -> None:
    """Work that takes longer than the limit in all, but in batches that end."""
    with hanging(bundle_path, "0") as server, httpx.Client(base_url=server.url, timeout=60) as client:
        texts = ["you " * 400] * 400
        started = time.monotonic()
        while time.monotonic() - started < 2.5 * LIMIT:
            answer = client.post("/v1/score", json={"inputs": texts, "per_word": False})
            assert answer.status_code == 200
        assert client.get("/health/live").status_code == 200
