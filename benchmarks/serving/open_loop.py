"""Open loop: requests at times that were fixed before, however slowly the server answers.

    python -m benchmarks.serving.open_loop URL --rate 500 --seconds 10 [--warm-up 1] [--start 0]

Arrivals are a Poisson process. Those of the warm-up, in which the connections are opened, are counted apart,
as the closed loop has a warm-up too. Every latency counts from the time at which the request was *due*, the
wait for a free connection and the client's own delay included: there is no coordinated omission. Each
request takes the connection that was used last; new ones are opened while none is free, up to `CONNECTIONS`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.serving.texts import Texts, body

CONNECTIONS = 1024
GRACE_SECONDS = 3.0
"""How long after the last request answers are waited for."""


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.due: float | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is free."""
        self.transport = cast(asyncio.Transport, transport)
        self.load.connections.add(self)

    def ask(self, due: float, request: bytes) -> None:
        """Sends the request that was due at `due`."""
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Counts an answer once it is whole: as long as it says, or up to the last chunk."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if b"transfer-encoding: chunked" in head:
            whole = self._buffer.endswith(b"\r\n0\r\n\r\n")
        else:
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = len(self._buffer) >= end + 4 + length
        if not whole:
            return
        self._buffer = b""
        due, self.due = self.due, None
        if due is not None:
            self.load.answered(self, due, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """What was asked is not answered any more."""
        self.load.lost(self)


@dataclass
class Tally:
    """What came of the requests of one span of time; latencies in seconds."""

    pending: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=lambda: {"answered": [], "refused": []})

    def quantiles(self) -> dict[str, float]:
        """How many were answered and refused, and the median and the 99th percentile of each."""
        result: dict[str, float] = {}
        for kind, latencies in self.latencies.items():
            result[kind] = len(latencies)
            if len(latencies) > 1:
                cuts = statistics.quantiles(latencies, n=100, method="inclusive")
                result |= {f"{kind}_p50": cuts[49], f"{kind}_p99": cuts[98]}
        return result


class Load:
    """The schedule and what came of it."""

    def __init__(
        self, url: str, rate: float, seconds: float, deadline: float, start: int, warm_up: float = 0.0
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.deadline = deadline
        generator = random.Random(start)  # noqa: S311
        self.offsets: list[float] = []
        at = generator.expovariate(rate)
        while at < warm_up + seconds:
            self.offsets.append(at)
            at += generator.expovariate(rate)
        texts = Texts()
        self.requests = [self._request(texts[start + i]) for i in range(len(self.offsets))]
        self.warm_up = warm_up
        self.sent = sum(offset >= warm_up for offset in self.offsets)
        self.tally, self.first = Tally(), Tally()
        self._counts_from = 0.0
        self.free: list[Connection] = []
        self.connections: set[Connection] = set()
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.opened = self.most_opened = 0

    def _request(self, text: str) -> bytes:
        content = body(text)
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            "Content-Type: application/json\r\n"
            # Ours obeys it; the others ignore it.
            f"X-Request-Timeout: {self.deadline}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    async def run(self) -> None:
        """All of it."""
        began = time.perf_counter() + 0.1
        self._counts_from = began + self.warm_up
        for offset, request in zip(self.offsets, self.requests, strict=True):
            due = began + offset
            now = time.perf_counter()
            if due - now > 0.0002:
                await asyncio.sleep(due - now)
            elif len(self.waiting) % 16 == 0:
                await asyncio.sleep(0)
            self._of(due).pending += 1
            self._send(due, request)
        end = time.perf_counter() + max(GRACE_SECONDS, self.deadline)
        tallies = (self.first, self.tally)
        while any(tally.pending for tally in tallies) and time.perf_counter() < end:  # noqa: ASYNC110 -- an end
            await asyncio.sleep(0.01)
        for tally in tallies:
            tally.statuses["unanswered"] += tally.pending
        for connection in tuple(self.connections):
            connection.due = None
            connection.transport.close()
        while self.connections:  # noqa: ASYNC110 -- over in a turn or two of the loop
            await asyncio.sleep(0)

    def _of(self, due: float) -> Tally:
        return self.tally if due >= self._counts_from else self.first

    def _send(self, due: float, request: bytes) -> None:
        if self.free:
            self.free.pop().ask(due, request)
            return
        self.waiting.append((due, request))
        if self.opened < CONNECTIONS:
            self.opened += 1
            self.most_opened = max(self.most_opened, self.opened)
            self._task = asyncio.ensure_future(self._open())
            _TASKS.add(self._task)
            self._task.add_done_callback(_TASKS.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
        except OSError:
            self.opened -= 1
            if self.waiting:
                self.failed("no connection", self.waiting.popleft()[0])
            return
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if connection.transport.is_closing():
            return
        if self.waiting:
            connection.ask(*self.waiting.popleft())
        else:
            self.free.append(connection)

    def answered(self, connection: Connection, due: float, status: int) -> None:
        """One answer, of any status."""
        tally = self._of(due)
        tally.pending -= 1
        tally.statuses[str(status)] += 1
        kind = "answered" if status == 200 else "refused" if status in (429, 503) else None
        if kind:
            tally.latencies[kind].append(time.perf_counter() - due)
        self._next(connection)

    def failed(self, reason: str, due: float) -> None:
        """One request came to nothing."""
        tally = self._of(due)
        tally.pending -= 1
        tally.statuses[reason] += 1

    def lost(self, connection: Connection) -> None:
        """A connection was closed."""
        self.opened -= 1
        self.connections.discard(connection)
        if connection.due is not None:
            due, connection.due = connection.due, None
            self.failed("closed", due)
        if connection in self.free:
            self.free.remove(connection)

    def result(self, seconds: float) -> dict[str, Any]:
        """Rates a second, latencies in seconds. Goodput: answered with 200 within the deadline."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        good = sum(latency <= self.deadline for latency in self.tally.latencies["answered"])
        return {
            "sent": self.sent,
            "seconds": seconds,
            "deadline": self.deadline,
            "goodput": good / seconds,
            "statuses": dict(self.tally.statuses),
            "connections": self.most_opened,
            "client_cpu": usage.ru_utime + usage.ru_stime,
            "warm_up": {"seconds": self.warm_up, "statuses": dict(self.first.statuses)}
            | self.first.quantiles(),
        } | self.tally.quantiles()


_TASKS: set[asyncio.Future[None]] = set()


def main() -> None:
    """One run, told as JSON."""
    parser = argparse.ArgumentParser(description="Open-loop load.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before them, counted apart; 1")
    parser.add_argument("--deadline", type=float, default=1.0)
    parser.add_argument("--start", type=int, default=0, help="place in the sequence of texts, and seed")
    args = parser.parse_args()
    load = Load(args.url, args.rate, args.seconds, args.deadline, args.start, args.warm_up)
    uvloop.run(load.run())
    print(json.dumps(load.result(args.seconds)))


if __name__ == "__main__":
    main()
