"""What the benchmark does, part by part, and how long each takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from benchmarks.serving import peers
from benchmarks.serving.options import open_seconds
from benchmarks.serving.results import LOADS

START_SECONDS = 6.0
"""To start a server and to end it, on average."""


@dataclass(frozen=True)
class Part:
    """What is done, saved and told as one; `seconds` are expected."""

    name: str
    seconds: float
    do: Callable[[], None]


class Measures(Protocol):
    """As much of `__main__.Benchmark` as there is to plan."""

    def round(self, name: str, first: bool) -> None:
        """Closed loops of one server."""

    def warm(self) -> None:
        """Ours with texts that repeat."""

    def inprocess(self) -> None:
        """The engine without HTTP."""

    def open_loop(self, name: str) -> None:
        """Open loops of one server."""


def plan(measures: Measures, args: argparse.Namespace) -> list[Part]:
    """All parts, in order: what the others' figures are compared with comes first."""
    levels = len(args.connections) * (round(args.warm_up) + args.seconds) + START_SECONDS
    idle = args.idle_seconds * (2 if args.idle_seconds >= 10 else 1) + 2
    parts = []
    for number in range(args.rounds):
        for name in args.servers:
            do = partial(measures.round, name, not number)
            parts.append(Part(f"round {number + 1}: {name}", levels + (0 if number else idle), do))
    if peers.OURS in args.servers:
        parts.append(Part("repeated texts: headfirst", levels + 4, measures.warm))
        parts.append(Part("in process", 10 * args.seconds + 20, measures.inprocess))
        for name in args.servers if args.open else ():
            seconds = sum(open_seconds(args, name, load) + 5 for load in LOADS) + START_SECONDS
            parts.append(Part(f"open loop: {name}", seconds, partial(measures.open_loop, name)))
    return parts
