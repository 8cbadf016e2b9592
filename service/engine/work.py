"""Work in progress: an accepted message, and the tokens that are run through the body for it."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from service.contract.errors import HeadfirstError
from service.contract.messages import Answer, Message, Predict, Score, Timing


class Job(Future[Answer]):
    """One accepted message, and the future of its answer.

    Args:
        message: what is asked.
        group: the messages that came with it.
        submitted: when it was accepted, in seconds of the batcher's clock.
    """

    def __init__(self, message: Message, group: "Group", submitted: float) -> None:
        super().__init__()
        self.message = message
        self.group = group
        self.submitted = submitted
        self.size = message.size
        """What it counts for in the queue's bound, in tokens."""
        self.deadline = math.inf if message.deadline is None else message.deadline
        """When its answer is late."""
        self.taken: float | None = None
        """When its first batch was put together."""
        self.cached = 0
        """Tokens that need not be run because the state after them was cached."""

    def timing(self, now: float, batch_size: int, body: float = 0.0, head: float = 0.0) -> Timing:
        """Where the time went, for an answer given `now`, after so many seconds in body and head."""
        taken = now if self.taken is None else self.taken
        return Timing(taken - self.submitted, now - taken, batch_size, self.cached, body, head)

    def resolve(self, answer: Answer | HeadfirstError) -> None:
        """Resolves the future; a job that was cancelled meanwhile stays so.

        To be called at most once: `Batcher` hands each job out to be answered once.
        """
        if not self.set_running_or_notify_cancel():
            return
        if isinstance(answer, HeadfirstError):
            self.set_exception(answer)
        else:
            self.set_result(answer)


class Group:
    """The messages of one `accept` call that share a queue, and those of their nodes that wait."""

    def __init__(self) -> None:
        self.unanswered: set[Job] = set()
        self.waiting: deque[Node] = deque()

    def put_back(self, node: "Node") -> None:
        """Lets a node wait again: in front, so that few are begun at a time, as does a tree's inner node
        that can begin now; its leaves at the back."""
        if node.position or node.children:
            self.waiting.appendleft(node)
        else:
            self.waiting.append(node)

    def alive(self, node: "Node", now: float) -> bool:
        """Whether an answer that needs this node of the group is still waited for."""
        return any(job in self.unanswered and now < job.deadline for job in node.jobs)


@dataclass(slots=True, eq=False)
class Node:
    """Tokens that run through the body one after another, in as many steps as the budget asks for.

    A `Predict` is one node: all tokens are run, the hidden row after the last one is asked for k words.
    A `Score` is one too, or a path of several from a root of the prefix tree: token i is scored with the
    hidden row after i tokens, so the last token of a leaf is scored but never run.

    Args:
        tokens: ids, without the start word and without the parents' tokens.
        inputs: how many of `tokens` are run.
        unscored: how many of the first tokens are context.
        jobs: the messages that need this node or one below it, all of one group.
        ends: those of them whose last token is this node's.
        parent: the node from whose final state this one starts; None starts after the start word.
    """

    tokens: tuple[int, ...]
    inputs: int
    unscored: int
    jobs: list[Job]
    ends: list[Job]
    parent: "Node | None" = None
    children: "list[Node]" = field(default_factory=list)
    position: int = 0
    """Tokens run so far."""
    keys: list[int] = field(default_factory=list)
    """`prefix_keys` of the context, once the cache was asked for it."""
    state: tuple[Tensor, ...] = ()
    """The body after them: one row, no batch dimension."""
    hidden: Tensor | None = None
    """(d,) the hidden row after them; None until the node has a state to start from."""
    logprobs: list[float] = field(default_factory=list)
    """Of the tokens scored so far."""
    error: float = 0.0
    """The most by which one of them may be off."""
    tops: "list[tuple[tuple[int, ...], tuple[float, ...]]]" = field(default_factory=list)
    """The best words in the places of the tokens scored so far, if asked for."""
    body_seconds: float = 0.0
    head_seconds: float = 0.0
    """What its batches so far took, in body and head."""

    @property
    def fast(self) -> bool:
        """Whether its jobs, which all ask for one mode, allow the fast one."""
        return self.jobs[0].message.fast

    @property
    def top(self) -> int:
        """How many best words its jobs, which all ask for the same, want in the place of each target."""
        message = self.jobs[0].message
        return message.top if isinstance(message, Score) else 0

    @property
    def ignore_case(self) -> bool:
        """Whether its jobs, which all ask for the same, take case variants of a target together."""
        message = self.jobs[0].message
        return isinstance(message, Score) and message.ignore_case

    @property
    def group(self) -> Group:
        """The group that it takes turns with."""
        return self.jobs[0].group

    @property
    def cost(self) -> int:
        """What is left to run, in tokens of the budget; 1 at least, because the head has a row to do."""
        return max(1, self.inputs - self.position)

    @property
    def finished(self) -> bool:
        """Whether all tokens that are to be run have been."""
        return self.position >= self.inputs

    def path_logprobs(self) -> tuple[float, ...]:
        """The log-probabilities of all scored tokens from the root of the tree to this node's end."""
        path = list(self._path())
        return tuple(value for node in reversed(path) for value in node.logprobs)

    def path_tops(self) -> tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]:
        """The best words in those tokens' places, if asked for."""
        path = list(self._path())
        return tuple(words for node in reversed(path) for words in node.tops)

    def path_error(self) -> float:
        """The most by which one of those may be off."""
        return max(node.error for node in self._path())

    def path_seconds(self) -> tuple[float, float]:
        """What the batches of all those nodes took, in body and head."""
        path = list(self._path())
        return sum(one.body_seconds for one in path), sum(one.head_seconds for one in path)

    def _path(self) -> "Iterator[Node]":
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(slots=True, eq=False)
class Slice:
    """A row of a batch: the next `count` tokens of a node, 0 where only the head has something to do.

    A node stands still while a slice of it is in a batch, so that what follows from its position is known
    when the slice is cut.
    """

    node: Node
    count: int
    cost: int = field(init=False)
    """Its share of the batch's budget, in tokens."""
    end: int = field(init=False)
    """The node's position after it."""
    completes: bool = field(init=False)
    """Whether the node has run all its tokens after it."""

    def __post_init__(self) -> None:
        self.cost = max(1, self.count)
        self.end = self.node.position + self.count
        self.completes = self.end >= self.node.inputs


@dataclass(slots=True, eq=False)
class Batch:
    """Slices to run at once, all of messages of one `kind`, which cost `tokens` together.

    `begun` are the jobs that wait no more; `started` is when that was. `charged` seconds were counted against
    the kind's queue already. `alone`: nothing else ran or waited then.
    """

    slices: list[Slice]
    begun: list[Job]
    started: float
    charged: float = 0.0
    alone: bool = False
    tokens: int = field(init=False)
    kind: type[Message] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum([piece.cost for piece in self.slices])
        self.kind = type(self.slices[0].node.jobs[0].message)


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


def predict_nodes(jobs: Iterable[Job]) -> list[Node]:
    """One node for each of `jobs`, whose messages are `Predict`: all tokens are context."""
    nodes = []
    for job in jobs:
        assert isinstance(job.message, Predict)  # noqa: S101 -- narrows the type
        tokens = job.message.tokens
        nodes.append(Node(tokens, len(tokens), len(tokens), [job], [job]))
    return nodes
