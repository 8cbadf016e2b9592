"""The options of `python -m benchmarks.serving`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.serving import machine, peers
from benchmarks.serving.environments import cache_folder
from models.bundle import DEFAULT


def parse() -> argparse.Namespace:
    """The options."""
    every = [*peers.OURS_ALL, *(peer.name for peer in peers.PEERS)]
    parser = argparse.ArgumentParser(description="Our server beside others.")
    parser.add_argument("--full", action="store_true", help="what is committed: more and longer runs")
    parser.add_argument("--minutes", type=float, default=25, help="after which no further part is begun")
    parser.add_argument("--resume", type=Path, help="JSON of a run that was cut off; goes on with it")
    parser.add_argument("--servers", nargs="+", choices=every, default=every)
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, help="starts of each server; 2")
    parser.add_argument("--seconds", type=float, help="of each run; 2")
    parser.add_argument("--warm-up", type=float, default=1, help="seconds of load before each run")
    parser.add_argument("--idle-seconds", type=float, help="without requests; 5")
    parser.add_argument("--open-seconds", type=float, help="of each open loop; 4")
    parser.add_argument("--overload-seconds", type=float, help="of ours at 1.5 times its capacity; 4")
    parser.add_argument("--no-open", dest="open", action="store_false", help="no open loop")
    parser.add_argument("--deadline", type=float, default=1.0, help="of open-loop requests, in seconds")
    parser.add_argument("--threads", type=int, default=1, help="torch's, in each of the peers' processes")
    parser.add_argument("--flags", nargs="*", default=[], help="more of `headfirst serve`, as '--x=y'")
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="for the peers' environments")
    parser.add_argument("--lock", type=Path, help="file to lock while a server is measured")
    parser.add_argument("--out", type=Path, default=machine.ROOT / "benchmarks" / "results")
    parser.add_argument("--note", dest="notes", action="append", default=[], help="for the report")
    parser.add_argument("--suffix", default="", help="of the results' names")
    args = parser.parse_args()
    quick = {
        "rounds": (2, 3),
        "seconds": (2, 4),
        "idle_seconds": (5, 10),
        "open_seconds": (4, 10),
        "overload_seconds": (4, 60),
    }
    for name, (short, long) in quick.items():
        if getattr(args, name) is None:
            setattr(args, name, long if args.full else short)
    return args


def open_seconds(args: argparse.Namespace, server: str, load: float) -> float:
    """How long an open loop is: ours under more than it can do is what there is a target for."""
    long = server in peers.OURS_ALL and load > 1
    seconds: float = args.overload_seconds if long else args.open_seconds
    return seconds
