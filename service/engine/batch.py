"""A batch: slices that run at once, and the jobs that begin with it."""

from collections.abc import Set
from dataclasses import dataclass, field

from service.engine.queue import Queue
from service.engine.work import Job, Slice


@dataclass(slots=True, eq=False)
class Batch:
    """Slices to run at once, all of one queue, which cost `tokens` together.

    `begun` are the jobs that wait no more; `started` is when that was. `charged` seconds were counted against
    the queue already. `alone`: nothing else ran or waited then.
    """

    queue: Queue
    slices: list[Slice]
    begun: list[Job]
    started: float
    charged: float = 0.0
    alone: bool = False

    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum([piece.cost for piece in self.slices])


def begun_now(slices: list[Slice], unanswered: Set[Job], now: float) -> list[Job]:
    """The jobs that wait no more, because `slices` are the first to be run for them."""
    begun = [
        job
        for piece in slices
        if piece.node.parent is None  # All jobs of a tree begin with its root.
        for job in piece.node.jobs
        if job.taken is None and job in unanswered
    ]
    for job in begun:
        job.taken = now
    return begun
