"""A batcher for tests: a clock that stands still, and a model that only counts."""

from collections import Counter

import torch

from service.contract.messages import Predict, Score
from service.engine.batcher import Batcher
from service.engine.work import Batch, Job, Node

HIDDEN = torch.zeros(1)


def predict(length: int = 3, deadline: float | None = None, name: str = "p") -> Predict:
    return Predict(name, tuple(range(length)), 10, None, deadline)


def score(length: int = 3, deadline: float | None = None, name: str = "s", first: int = 0) -> Score:
    return Score(name, (), (first, *range(1, length)) if length else (), deadline)


class Bench:
    """A batcher, a clock that stands still, and a model that only counts."""

    def __init__(self, batch_tokens: int = 256, score_tokens: int = 128, **limits: int) -> None:
        self.now = 0.0
        self.clock = lambda: self.now
        self.rejected: Counter[str] = Counter()
        self.answered: Counter[Job] = Counter()
        self.gone: Counter[Job] = Counter()
        """Jobs that left without an answer, as far as a test has noted them."""
        self.jobs: list[Job] = []
        self.batcher = Batcher(
            batch_tokens=batch_tokens,
            score_tokens=score_tokens,
            max_inputs=limits.get("max_inputs", 10_000),
            max_tokens=limits.get("max_tokens", 1_000_000),
            rejected=lambda reason: self.rejected.update([reason]),
            clock=lambda: self.clock(),
            threads=limits.get("threads", 1),
        )

    def submit(self, *messages: Predict | Score) -> list[Job]:
        jobs = self.batcher.accept(messages)
        self.jobs += jobs
        return jobs

    def begin(self, node: Node) -> None:
        assert node.hidden is None
        node.hidden = HIDDEN

    def next(self) -> Batch:
        """The next batch; never blocks."""
        assert self.batcher.has_work()
        batch = self.batcher.next(self.begin)
        assert batch is not None
        return batch

    def run(self, batch: Batch, seconds: float = 0.01) -> None:
        """What the engine does with a batch."""
        self.now += seconds
        unfinished: list[Node] = []
        tokens = 0
        for piece in batch.slices:
            node = piece.node
            node.position = piece.end
            if not node.finished:
                unfinished.append(node)
                continue
            for child in node.children:
                child.hidden = HIDDEN
            unfinished += node.children
            for job in node.ends:
                if self.batcher.release(job):
                    self.answered[job] += 1
                    tokens += job.message.size
        self.batcher.finish(batch, tokens, unfinished)

    def step(self, seconds: float = 0.01) -> Batch:
        batch = self.next()
        self.run(batch, seconds)
        return batch

    @property
    def open(self) -> list[Job]:
        """Jobs that are neither answered nor gone."""
        return [job for job in self.jobs if not self.answered[job] and not self.gone[job]]

    def run_all(self) -> list[Batch]:
        batches = []
        while self.batcher.has_work():
            batches.append(self.step())
        return batches


def messages_of(batch: Batch) -> list[Predict | Score]:
    return [job.message for piece in batch.slices for job in piece.node.jobs]
