"""Mixed load for minutes: good requests, bad ones, hurried ones, ones whose client leaves. Nothing leaks.

    python -m benchmarks.serving.soak                    ten minutes for each of --http-workers 0 and 1
    python -m benchmarks.serving.soak --seconds 60 --http-workers 0

Of the requests 10% leave before their answer, 5% are bad, 5% have a deadline of a few milliseconds. Required:
no 5xx but deliberate ones (504 for a deadline), every status one that its kind of request may have, gauges
back at zero, memory flat after warm-up. Results go to
``benchmarks/results/soak-<date>.json`` and ``.md``. Exit status 1 where something was not as required.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.serving import machine, peers
from benchmarks.serving.mixed import ALLOWED, KINDS, WEIGHTS, Mix
from benchmarks.serving.processes import Running
from models.bundle import DEFAULT

GAUGES = "requests_in_progress", "queue_depth", "queue_tokens"
WARM_UP_SHARE = 0.25
"""Of the time; caches fill meanwhile."""
MAX_GROWTH = 0.05
"""Of the memory after the warm-up, from its first third to its last."""
SETTLE_SECONDS = 10.0
READY_SECONDS = 120.0


class Soak:
    """One server under mixed load.

    Args:
        server: running and ready.
        clients: connections that ask at once.
        seed: of the requests.
    """

    def __init__(self, server: Running, clients: int, seed: int) -> None:
        self._server = server
        self._clients = clients
        self._seed = seed
        parts = urlsplit(server.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self.statuses: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
        self.memory: list[tuple[float, int]] = []

    async def run(self, seconds: float) -> None:
        """Asks for so long, and looks at the server's memory meanwhile."""
        end = time.monotonic() + seconds
        clients = [asyncio.create_task(self._client(number, end)) for number in range(self._clients)]
        began = time.monotonic()
        interval = min(5.0, seconds / 40)
        while time.monotonic() < end:
            await asyncio.sleep(interval)
            used = await asyncio.to_thread(self._server.memory_bytes)
            self.memory.append((time.monotonic() - began, used))
        await asyncio.gather(*clients)

    async def _client(self, number: int, end: float) -> None:
        mix = Mix(random.Random(self._seed * 1000 + number))  # noqa: S311
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.monotonic() < end:
            kind = mix.kind()
            request = mix.request(kind)
            if streams is None:
                streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = streams
            if kind == "gone":
                # Some before all is sent, some while they wait.
                writer.write(request[: mix.cut(len(request))])
                await asyncio.sleep(mix.patience())
                writer.transport.abort()
                self.statuses[kind][0] += 1
                streams = None
                continue
            writer.write(request)
            status, keeps = await _answer(reader)
            self.statuses[kind][status] += 1
            if not keeps:
                writer.close()
                streams = None
        if streams is not None:
            streams[1].close()

    def settled(self) -> dict[str, float]:
        """The gauges once they are at rest: the scrape itself is the one request in progress."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            gauges = {name: self._server.metric(f"headfirst_{name}") for name in GAUGES}
            gauges["requests_in_progress"] -= 1
            if not any(gauges.values()) or time.monotonic() > end:
                return gauges
            time.sleep(0.1)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status of the answer, and whether the connection is kept."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return int(head[9:12]), b"connection: close" not in head


def growth(memory: list[tuple[float, int]]) -> float:
    """By what share the memory grew after the warm-up, from the median of its first third to its last's."""
    ends = memory[-1][0]
    steady = [used for at, used in memory if at >= WARM_UP_SHARE * ends]
    third = max(1, len(steady) // 3)
    first, last = sorted(steady[:third]), sorted(steady[-third:])
    return last[len(last) // 2] / first[len(first) // 2] - 1


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as required, a sentence each."""
    wrong = [
        f"{count} {kind} requests were answered {status}"
        for kind, statuses in found["statuses"].items()
        for status, count in statuses.items()
        if int(status) not in ALLOWED[kind]
    ]
    wrong += [f"{name} stays at {value:g}" for name, value in found["gauges"].items() if value]
    if found["growth"] > MAX_GROWTH:
        wrong.append(f"memory grew by {found['growth']:.1%} after the warm-up")
    if found["internal_errors"]:
        wrong.append(f"{found['internal_errors']:g} answers were 500")
    return wrong


def soak(place: peers.Place, http_workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """One server's figures."""
    with peers.start_ours(place, (f"--http-workers={http_workers}",)) as server:
        server.wait_ready(READY_SECONDS)
        run = Soak(server, args.clients, args.seed)
        before = server.cpu_seconds()
        uvloop.run(run.run(args.seconds))
        gauges = run.settled()
        statuses = {kind: dict(sorted(counts.items())) for kind, counts in run.statuses.items()}
        found: dict[str, Any] = {
            "http_workers": http_workers,
            "requests": sum(sum(counts.values()) for counts in statuses.values()),
            "statuses": {kind: {str(s): n for s, n in counts.items()} for kind, counts in statuses.items()},
            "gauges": gauges,
            "internal_errors": server.metric("headfirst_requests_total", 'status="500"'),
            "memory": run.memory,
            "growth": growth(run.memory),
            "cpu": (server.cpu_seconds() - before) / args.seconds,
        }
    found["faults"] = faults(found)
    return found


def report(results: dict[str, Any]) -> str:
    """The figures in Markdown."""
    about = results["machine"]
    lines = [
        f"# Mixed load, {results['date']}",
        "",
        f"{about['processor']}, {about['cores']} cores; commit {results['commit']}; "
        f"model {results['model']}. {results['clients']} connections for {results['seconds']:g} s: "
        + ", ".join(f"{weight}% {kind}" for kind, weight in zip(KINDS, WEIGHTS, strict=True))
        + ". Predictions, scoring, prefixes, lists; texts that grow word by word.",
        "",
        "| HTTP workers | requests | a second | statuses (0: the client left) | gauges after | "
        "memory, MiB: start, after warm-up, end | growth | CPU, cores | as required |",
        "| ---: | ---: | ---: | --- | --- | --- | ---: | ---: | --- |",
    ]
    for found in results["runs"]:
        statuses = "; ".join(
            f"{kind}: " + ", ".join(f"{n} x {status}" for status, n in counts.items())
            for kind, counts in found["statuses"].items()
        )
        memory = [used / 2**20 for _, used in found["memory"]]
        shown = f"{memory[0]:,.0f}, {memory[int(len(memory) * WARM_UP_SHARE)]:,.0f}, {memory[-1]:,.0f}"
        gauges = ", ".join(f"{name} {value:g}" for name, value in found["gauges"].items())
        requests = found["requests"]
        lines.append(
            f"| {found['http_workers']} | {requests:,} | {requests / results['seconds']:,.0f} "
            f"| {statuses} | {gauges} | {shown} | {found['growth']:+.1%} | {found['cpu']:.2f} "
            f"| {'; '.join(found['faults']) or 'yes'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs, writes, tells."""
    parser = argparse.ArgumentParser(description="Mixed load for minutes.")
    parser.add_argument("--seconds", type=float, default=600, help="of each server's load; 600")
    parser.add_argument("--http-workers", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=machine.ROOT / "benchmarks" / "results")
    parser.add_argument("--suffix", default="", help="of the results' names")
    args = parser.parse_args()
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "machine": machine.machine(),
        "model": machine.digest(args.model),
        "seconds": args.seconds,
        "clients": args.clients,
        "runs": [],
    }
    stem = args.out / f"soak-{results['date'][:10]}{args.suffix}"
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headfirst-soak-") as folder:
        model = machine.copy_packages(Path(folder), args.model)
        place = peers.Place(Path(folder), model, Path(folder), Path(folder), 1)
        for http_workers in args.http_workers:
            results["runs"].append(soak(place, http_workers, args))
            stem.with_name(stem.name + ".json").write_text(json.dumps(results, indent=1) + "\n")
            stem.with_name(stem.name + ".md").write_text(report(results))
    print(report(results))
    return int(any(found["faults"] for found in results["runs"]))


if __name__ == "__main__":
    sys.exit(main())
