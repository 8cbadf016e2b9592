"""Measures `headfirst serve` beside FastAPI, LitServe, mosec, BentoML and Ray Serve, in one command.

    python -m benchmarks.serving                 about eight minutes
    python -m benchmarks.serving --full          what is committed: more and longer runs, about twenty
    python -m benchmarks.serving --servers headfirst mosec --no-open
    python -m benchmarks.serving --full --resume benchmarks/results/serving-2026-11-24.json

It begins with its plan, writes what it has after each part, and begins none after `--minutes`. Every server
has the same model and the same `topk` behind it; each peer gets a virtual environment of its own in a cache
folder. Needs wrk and Linux. README.md says what is measured, and how.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import service
from benchmarks.serving import machine, peers
from benchmarks.serving.closed_loop import ClosedLoop
from benchmarks.serving.options import open_seconds, parse
from benchmarks.serving.plan import plan
from benchmarks.serving.processes import Running
from benchmarks.serving.report import charts, markdown
from benchmarks.serving.results import LOADS, Results
from benchmarks.serving.sameness import TOLERANCE, same_words
from benchmarks.serving.texts import Texts

CHECKED = 50
READY_SECONDS = 120.0


class Benchmark:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        model = machine.copy_packages(folder, args.model)
        self.place = peers.Place(folder, model, args.cache, folder, args.threads)
        self.closed = ClosedLoop(folder)
        self.peers = {peer.name: peer for peer in peers.PEERS if peer.name in args.servers}
        self.reference: list[dict[str, Any]] | None = None
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": machine.commit(),
            "machine": machine.machine(),
            "model": machine.digest(args.model),
            "load_average": f"{os.getloadavg()[0]:.2f}",
            "settings": {
                key: value for key, value in vars(args).items() if isinstance(value, int | float | list)
            },
            "same": "",
            "notes": args.notes,
            "done": [],
            "servers": {name: self._describe(name) for name in args.servers},
        }
        if args.resume is not None:
            self._resume(json.loads(args.resume.read_text()))
        self._ends = time.monotonic() + 60 * args.minutes

    def _resume(self, earlier: dict[str, Any]) -> None:
        """Goes on with an earlier run of the same settings. Raises SystemExit for one of others."""
        for key in ("settings", "model", "machine", "commit"):
            if earlier[key] != self.results[key]:
                sys.exit(f"--resume: {key} differ: {earlier[key]} was {self.results[key]}")
        if list(earlier["servers"]) != list(self.results["servers"]):
            sys.exit("--resume: the servers differ")
        self.results = earlier

    def _describe(self, name: str) -> dict[str, Any]:
        if name in peers.OURS_ALL:
            flags = " ".join((*peers.OURS_ALL[name], *self.args.flags))
            note = f"as it starts, but for {flags}" if flags else "as it starts"
            return {"version": service.__version__, "workers": 1, "wait": "none", "note": note}
        peer = self.peers[name]
        return {
            "version": peers.version(peer, self.place),
            "workers": peer.workers,
            "wait": "no batches" if peer.wait_ms is None else f"{peer.wait_ms:g} ms",
            "note": peer.note,
        }

    @contextlib.contextmanager
    def _server(self, name: str) -> Iterator[Running]:
        """A server that is ready, alone on the machine as far as the lock tells."""
        with self._alone():
            began = time.monotonic()
            if name in peers.OURS_ALL:
                server = peers.start_ours(self.place, (*peers.OURS_ALL[name], *self.args.flags))
            else:
                server = peers.start_peer(self.peers[name], self.place)
            try:
                with server:
                    server.wait_ready(READY_SECONDS)
                    self._found(name).setdefault("ready", []).append(time.monotonic() - began)
                    yield server
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                # One server's trouble is a row of the report, not the end of the others' measurement.
                self._found(name).setdefault("errors", []).append(str(error))
                self._say(f"{name}: {error}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self.args.lock is None:
            yield
            return
        with self.args.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _found(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.results["servers"][name]
        return found

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    # -- what is measured ---------------------------------------------------------------------------------

    def check(self, name: str, server: Running) -> None:
        """Whether it answers the same words as the first server. Raises RuntimeError if it does not."""
        texts = Texts()
        answers = [json.loads(server.ask(texts[-1 - i])) for i in range(CHECKED)]
        results = [(answer["results"] if isinstance(answer, dict) else answer)[0] for answer in answers]
        if self.reference is None:
            self.reference = results
        for text, ours, theirs in zip(
            map(texts.__getitem__, range(-1, -CHECKED - 1, -1)), self.reference, results, strict=True
        ):
            if not same_words(ours, theirs):
                raise RuntimeError(f"{name} answers other words after {text!r}: {theirs} instead of {ours}")

    def round(self, name: str, first: bool) -> None:
        """A start of the server, and a run at each number of connections."""
        args, found = self.args, self._found(name)
        with self._server(name) as server:
            if first:
                self.check(name, server)
                time.sleep(1.0)
                found.setdefault("idle_cpu", []).append(self._idle(server))
            for level in args.connections:
                self._closed(found, "closed", server, level, cold=True)
            if name == peers.OURS:
                found["hit_rate_cold"] = _hit_rate(server)
            found.setdefault("memory_bytes", []).append(server.memory_bytes())
            if first and args.idle_seconds >= 10:  # after load, too: what was awake may stay awake
                time.sleep(1.0)
                found["idle_cpu"].append(self._idle(server))

    def _idle(self, server: Running) -> float:
        before = server.cpu_seconds()
        seconds: float = self.args.idle_seconds
        time.sleep(seconds)
        return (server.cpu_seconds() - before) / seconds

    def _closed(self, found: dict[str, Any], kind: str, server: Running, level: int, cold: bool) -> None:
        self.closed.run(server.url, level, self.args.warm_up, cold)
        before = server.cpu_seconds()
        run = self.closed.run(server.url, level, self.args.seconds, cold)
        run["cpu"] = (server.cpu_seconds() - before) / run["seconds"]
        found.setdefault(kind, {}).setdefault(str(level), []).append(run)
        self._say(f"  {level:4} connections: {run['rate']:8.1f}/s, p50 {run['p50'] * 1e3:8.2f} ms ({kind})")

    def warm(self) -> None:
        """Ours with texts that repeat."""
        found = self._found(peers.OURS)
        with self._server(peers.OURS) as server:
            self.closed.run(server.url, 64, max(4, self.args.warm_up), cold=False)
            before = _lookups(server)
            for level in self.args.connections:
                self._closed(found, "warm", server, level, cold=False)
            hits, misses = (b - a for a, b in zip(before, _lookups(server), strict=True))
            found["hit_rate_warm"] = hits / (hits + misses)

    def open_loop(self, name: str) -> None:
        """All loads on one start of the server."""
        args = self.args
        if "capacity" not in self.results:
            results = Results(self.results)
            ours = [one for one in peers.OURS_ALL if one in args.servers]
            rates = [results.closed(one, level, "rate") for one in ours for level in args.connections]
            self.results["capacity"] = max(rate for rate in rates if rate is not None)
        capacity = self.results["capacity"]
        with self._server(name) as server:
            self.closed.run(server.url, 64, max(2, args.warm_up))
            for number, load in enumerate(LOADS):
                seconds = open_seconds(args, name, load)
                command = ["benchmarks.serving.open_loop", server.url]
                command += ["--rate", str(load * capacity), "--seconds", str(seconds)]
                command += ["--deadline", str(args.deadline), "--start", str(100_000 * (number + 1))]
                command += ["--warm-up", str(args.warm_up)]
                before = server.cpu_seconds()
                run = self._run_module(command, timeout=seconds + 120)
                run["cpu"] = (server.cpu_seconds() - before) / (args.warm_up + seconds)
                self._found(name).setdefault("open", {})[f"{load:g}"] = run
                self._say(f"  {load:g} x capacity: goodput {run['goodput']:.0f}/s, {run['statuses']}")
                time.sleep(1.0)

    def inprocess(self) -> None:
        """The engine without HTTP."""
        command = ["benchmarks.serving.inprocess", str(self.place.model)]
        command += ["--threads", str(self.args.threads), "--seconds", str(self.args.seconds)]
        environment = {
            "OMP_NUM_THREADS": str(self.args.threads),
            "BENCHMARK_THREADS": str(self.args.threads),
            "BENCHMARK_MODEL": str(self.place.model),
        }
        with self._alone():
            self.results["inprocess"] = self._run_module(command, environment, timeout=600)

    def _run_module(
        self, command: list[str], environment: dict[str, str] | None = None, *, timeout: float
    ) -> Any:
        """What a module of ours prints as JSON. Raises RuntimeError with what it says if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.place.tree,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")
        return json.loads(done.stdout)

    def run(self) -> None:
        """Everything that is not done; `save` after each part, so that what was measured is not lost."""
        left = [part for part in plan(self, self.args) if part.name not in self.results["done"]]
        self._say(f"{len(left)} parts, about {sum(part.seconds for part in left) / 60:.0f} minutes:")
        for part in left:
            if time.monotonic() > self._ends:
                self.results["notes"].append(f"Not measured, for want of time: {part.name}.")
                self._say(f"{part.name}: left out, for want of time")
                continue
            self._say(f"{part.name} (about {part.seconds:.0f} s)")
            part.do()
            self.results["done"].append(part.name)
            self.save()
        wrong = [name for name in self.args.servers if self._found(name).get("errors")]
        self.results["same"] = (
            f"checked on {CHECKED} texts, log-probabilities within {TOLERANCE:g}"
            if not wrong
            else f"see the errors of {', '.join(wrong)}"
        )
        self.save()

    def save(self) -> None:
        """Writes JSON, Markdown and the charts."""
        out: Path = self.args.out
        out.mkdir(parents=True, exist_ok=True)
        stem = f"serving-{self.results['date'][:10]}{self.args.suffix}"
        (out / f"{stem}.json").write_text(json.dumps(self.results, indent=1) + "\n")
        results = Results(self.results)
        files = {}
        for name, svg in charts(results).items():
            files[name] = f"{stem}-{name}.svg"
            (out / files[name]).write_text(svg)
        (out / f"{stem}.md").write_text(markdown(results, files))


def _lookups(server: Running) -> tuple[float, float]:
    return server.metric("headfirst_state_cache_hits_total"), server.metric(
        "headfirst_state_cache_misses_total"
    )


def _hit_rate(server: Running) -> float:
    hits, misses = _lookups(server)
    return hits / max(1.0, hits + misses)


def main() -> None:
    """Measure and write."""
    args = parse()
    with tempfile.TemporaryDirectory(prefix="headfirst-benchmark-") as folder:
        benchmark = Benchmark(args, Path(folder))
        try:
            benchmark.run()
        finally:
            benchmark.save()
            for name in args.servers:
                for error in benchmark.results["servers"][name].get("errors", []):
                    print(f"{name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
