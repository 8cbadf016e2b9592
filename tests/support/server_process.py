"""`headfirst serve` as a process of its own, and what is asked of it and of its children."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from tests.support.http import BODY, Samples, samples


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
        """Asks until the server is ready, and with several workers until each has logged that it is: the next
        connection may go to any of them."""
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


StartServer = Callable[..., AbstractContextManager[ServerProcess]]


@contextmanager
def asked(*arguments: str) -> Iterator[httpx.Client]:
    """A client of a server that is started with these arguments."""
    server = ServerProcess(*arguments)
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client
    finally:
        server.kill()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Returns once `condition` holds, which other processes bring about; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def pid_of(server: ServerProcess, process: str) -> int:
    """The last process of this name that logged something; waits for the first."""
    pids: list[object] = []

    def logged() -> bool:
        pids[:] = [line["pid"] for line in server.lines if line.get("process") == process]
        return bool(pids)

    until(logged)
    return int(str(pids[-1]))


def runs(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def ask(server: ServerProcess, path: str = "/v1/predict", body: str | None = BODY) -> tuple[int, str]:
    """Asks on a new connection; returns the status and the name of the process that answered."""
    request_id = f"ask-{next(_numbers)}"
    headers = {"x-request-id": request_id, "connection": "close"}
    response = httpx.request(
        "POST" if body else "GET", f"{server.url}{path}", content=body, headers=headers, timeout=30
    )
    names: list[object] = []

    def logged() -> bool:
        names[:] = [line["process"] for line in server.lines if line.get("id") == request_id]
        return bool(names)

    until(logged)
    return response.status_code, str(names[0])


_numbers = itertools.count()


def page_of(server: ServerProcess) -> Samples:
    """The metrics, from any one of the workers."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        return samples(client)


def failed_start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`headfirst serve` with arguments that end it at once."""
    command = [sys.executable, "-m", "service.cli", "serve", *arguments]
    return subprocess.run(
        command, env=clean_environment(**environment), capture_output=True, text=True, timeout=60, check=False
    )


def assert_refused(process: subprocess.CompletedProcess[str], *words: str) -> None:
    """The process ended with 2 and one line on standard error, which has all `words`."""
    assert process.returncode == 2
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("headfirst serve: ")
    for word in words:
        assert word in line
