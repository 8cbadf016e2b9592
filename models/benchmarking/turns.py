"""Timing candidates in turn: one run of each, again and again, so that a disturbance of the machine hits all.

Caches are left as the candidate before has left them: after a full softmax nothing of another's weights is
there, so that those are read from memory, as on a server whose network and other requests ran in between. The
order is rotated from turn to turn, so that no candidate always follows the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from time import perf_counter
from typing import Final

Call = Callable[[int], object]
"""What is timed; gets the number of the turn, to take other rows at each."""

LONG_SECONDS: Final = 0.5
"""A candidate that takes longer is run in few turns only."""
LEAST_TURNS: Final = 3


@dataclass(slots=True)
class Times:
    """Seconds of each run of one candidate that counts."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Milliseconds."""
        return median(self.seconds) * 1e3

    @property
    def mean_ms(self) -> float:
        """Milliseconds; unlike the median it knows of a rare slow run, as of a row that opens clusters."""
        return fmean(self.seconds) * 1e3


def take_turns(
    candidates: Mapping[str, Call], seconds: float, on_turn: Callable[[float], None] = lambda share: None
) -> dict[str, Times]:
    """Times of each candidate, after a first run that is not counted.

    Args:
        candidates: by name.
        seconds: for all turns together. `LEAST_TURNS` are made even if they take longer.
        on_turn: is told the share that is done after each turn.
    """
    times = {name: Times() for name in candidates}
    first = {name: _run(call, 0) for name, call in candidates.items()}
    names, turn, started = list(candidates), 0, perf_counter()
    while turn < LEAST_TURNS or perf_counter() - started < seconds:
        turn += 1
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if turn <= LEAST_TURNS or first[name] < LONG_SECONDS:
                times[name].seconds.append(_run(candidates[name], turn))
        on_turn(min(1.0, max(turn / LEAST_TURNS - 1e-3, 0) if seconds <= 0 else _share(started, seconds)))
    return times


def alone(call: Call, seconds: float) -> Times:
    """Times of one candidate, run after run: what it reads is in the caches if they hold it."""
    times = Times()
    _run(call, 0)
    started = perf_counter()
    while len(times.seconds) < LEAST_TURNS or perf_counter() - started < seconds:
        times.seconds.append(_run(call, len(times.seconds)))
    return times


def _run(call: Call, turn: int) -> float:
    started = perf_counter()
    call(turn)
    return perf_counter() - started


def _share(started: float, seconds: float) -> float:
    return min(1.0, (perf_counter() - started) / seconds)
