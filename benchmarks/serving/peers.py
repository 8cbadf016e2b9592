"""The servers that are measured, and how each is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.environments import python_of, version_of
from benchmarks.serving.processes import Running, free_port

APPS = "benchmarks.serving.apps"
OURS = "headfirst"
QUIET = "--log-level=warning"
"""No access log: none of the peers writes one."""
OURS_ALL = {OURS: (QUIET,), f"{OURS}, one process": (QUIET, "--http-workers=0")}
"""Ours as it starts by default (on two cores HTTP has a process of its own), and all in one process; the
flags of each."""


@dataclass(frozen=True)
class Peer:
    """Another project's server around the same model.

    Args:
        name: in tables.
        packages: those that are installed; the first one's version is reported.
        module: its app, or a command's arguments if it has more than one word. `{port}` is filled in.
        workers: processes with a model.
        wait_ms: what it waits for a batch to fill; None without batches.
        environment: variables of its own.
        note: its settings, for the report.
    """

    name: str
    packages: tuple[str, ...]
    module: str
    workers: int
    wait_ms: float | None
    note: str
    environment: dict[str, str] = field(default_factory=dict)


PEERS = (
    Peer(
        "FastAPI",
        ("fastapi", "uvicorn[standard]"),
        f"{APPS}.plain_fastapi",
        workers=2,
        wait_ms=None,
        note="uvicorn with uvloop and httptools, no access log, no batching",
    ),
    Peer(
        "LitServe",
        ("litserve",),
        f"{APPS}.lit",
        workers=2,
        wait_ms=0,
        note="fast_queue, max_batch_size 64",
    ),
    Peer(
        "mosec",
        ("mosec",),
        f"{APPS}.mosec_app --address 127.0.0.1 --port {{port}} --log-level warning",
        workers=2,
        wait_ms=1,  # 0 means the default, 10 ms
        note="max_batch_size 64",
    ),
    Peer(
        "BentoML",
        ("bentoml",),
        f"bentoml serve {APPS}.bento:Predict --host 127.0.0.1 --port {{port}}",
        workers=2,
        wait_ms=1000,  # a bound, after which it refuses; it seldom waits
        note="batchable API, max_batch_size 64, no metrics, no access log; wait is max_latency_ms",
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "Ray Serve",
        ("ray[serve]",),
        f"{APPS}.ray_app",
        workers=1,
        wait_ms=5,  # with 0 it makes no batches
        note="@serve.batch, max_batch_size 64, max_ongoing_requests 1000, RAY_SERVE_THROUGHPUT_OPTIMIZED",
        environment={
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        },
    ),
)


@dataclass(frozen=True)
class Place:
    """Where servers run.

    Args:
        tree: a copy of the repository's packages, so that edits during a run change nothing.
        model: the bundle.
        cache: the peers' environments.
        logs: what the servers print.
        threads: torch's, in each of the peers' processes with a model.
    """

    tree: Path
    model: Path
    cache: Path
    logs: Path
    threads: int


def start_ours(place: Place, flags: tuple[str, ...] = ()) -> Running:
    """`headfirst serve`, warnings only in its log, with as many threads as there are cores: its default."""
    port = free_port()
    cores = len(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "from service.cli import main; main()", "serve"]
    command += ["--port", str(port), "--model", str(place.model), "--log-level", "warning"]
    environment = _environment(place, {"OMP_NUM_THREADS": str(cores)})
    return Running([*command, *flags], environment, port, place.logs / f"{OURS}.log")


def start_peer(peer: Peer, place: Place) -> Running:
    """One of `PEERS`."""
    port = free_port()
    python = python_of(place.cache, peer.name.lower().replace(" ", "-"), peer.packages)
    command = [str(python), "-m", *peer.module.format(port=port).split()]
    environment = peer.environment | {
        "BENCHMARK_PORT": str(port),
        "BENCHMARK_MODEL": str(place.model),
        "BENCHMARK_THREADS": str(place.threads),
        "BENCHMARK_WORKERS": str(peer.workers),
        "BENCHMARK_WAIT_MS": str(peer.wait_ms or 0),
    }
    return Running(
        command, _environment(place, environment), port, place.logs / f"{peer.name.replace(' ', '-')}.log"
    )


def version(peer: Peer, place: Place) -> str:
    """The peer's version."""
    python = python_of(place.cache, peer.name.lower().replace(" ", "-"), peer.packages)
    return version_of(python, peer.packages[0].split("[")[0])


def _environment(place: Place, more: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": str(place.tree), "OMP_NUM_THREADS": str(place.threads), "NO_COLOR": "1", **more}
