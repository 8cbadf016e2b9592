"""Waiting messages -> the next batch.

No wait: a thread that asks for a batch gets what is waiting, up to a budget of tokens; with nothing waiting,
`next` blocks without using the CPU. There are two queues, predictions and bulk scoring, each bounded in
messages and tokens of its own, so that a full bulk queue refuses no keystroke. A batch is of one queue;
`Scheduler` says of which.

The threads that submit, compute and watch the deadlines meet here under one lock. A message is answered by
the thread that takes its job out, hence once. A node that is in a batch is in no queue until `finish`: the
thread that has taken the batch owns its nodes alone.

Several threads may run batches at once. A batch is then charged to its queue when it is taken, as long as it
will take by the last ones' measure; so two scoring steps do not run side by side while predictions wait.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from service.contract.errors import HeadfirstError
from service.contract.messages import Answer, Message
from service.engine.prefix_tree import score_nodes
from service.engine.queue import Queue
from service.engine.scheduler import Scheduler
from service.engine.sleepers import Sleepers
from service.engine.work import Batch, Group, Job, Node, Slice, begun_now, predict_nodes

FEW_ANSWERS = 4
"""Given in a few ten microseconds."""


class Batcher:
    """Where the threads that submit, the engine's and the timer's meet.

    Args:
        batch_tokens: budget of a batch of predictions.
        score_tokens: budget of a batch of scoring, if less: a prediction may have to wait for one.
        max_inputs: messages that each queue holds at most, those that are being computed included.
        max_tokens: tokens that these messages have at most.
        threads: that run batches at once.
        rejected: told `expired` or `cancelled` for each message that leaves for that reason.
        clock: seconds, the clock of the messages' deadlines.
    """

    def __init__(
        self,
        *,
        batch_tokens: int,
        score_tokens: int,
        max_inputs: int,
        max_tokens: int,
        rejected: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        threads: int = 1,
    ) -> None:
        self.depth = 0
        """Messages that wait for their first batch."""
        self._rejected = rejected
        self._clock = clock
        self._scheduler = scheduler = Scheduler(batch_tokens, score_tokens, max_inputs, max_tokens)
        self._queue_of = scheduler.of
        self._unanswered: set[Job] = set()
        self.wake_at = math.inf
        """When the timer looks at the deadlines by itself."""
        self._timer_sleeps = False
        self._refuse: Callable[[], HeadfirstError] | None = None
        self._threads = threads
        self._running: set[Batch] = set()
        self._stopped = False
        # Reentrant: a callback of one future may cancel another, on the same thread.
        self._lock = lock = threading.RLock()
        self._sleepers = Sleepers(lock)
        self._deadline = threading.Condition(lock)
        self._idle = threading.Condition(lock)

    @property
    def tokens(self) -> int:
        """Tokens of all messages that are accepted and not answered."""
        return sum(queue.tokens for queue in self._scheduler)

    @property
    def budgets(self) -> tuple[int, int]:
        """What a batch of predictions and one of scoring may have now, in tokens."""
        return self._scheduler.predict.budget, self._scheduler.score.budget

    def asleep(self) -> int:
        """How many of the engine's threads sleep until there is a batch."""
        with self._lock:
            return len(self._sleepers)

    def idle(self) -> bool:
        """Whether all of the engine's threads and its timer sleep."""
        with self._lock:
            return self._timer_sleeps and len(self._sleepers) == self._threads

    def has_work(self) -> bool:
        """Whether `next` would return a batch at once."""
        with self._lock:
            return any(queue.has_work(self._clock()) for queue in self._scheduler)

    # -- the side that submits --------------------------------------------------------------------------

    def accept(self, messages: Sequence[Message]) -> list[Job]:
        """Accepts all messages or none. Returns their jobs in the same order.

        Raises:
            QueueFull: there is no room for them now.
            TooLarge: there never will be.
            HeadfirstError: what `close` was told.
        """
        needs: dict[Queue, tuple[int, int]] = {}
        for message in messages:
            queue = self._queue_of[type(message)]
            inputs, tokens = needs.get(queue, (0, 0))
            needs[queue] = (inputs + 1, tokens + message.size)
        with self._lock:
            self._check_room(needs)  # Before anything is made: it must be cheap to refuse.
        groups = {queue: Group() for queue in needs}
        now = self._clock()
        jobs = [Job(message, groups[self._queue_of[type(message)]], now) for message in messages]
        for queue, group in groups.items():
            members = jobs if len(groups) == 1 else [job for job in jobs if job.group is group]
            make = predict_nodes if queue is self._scheduler.predict else score_nodes
            group.unanswered.update(members)
            group.waiting.extend(make(members))
        with self._lock:
            self._check_room(needs)
            for queue, group in groups.items():
                self._admit(queue, group, needs[queue])
        for job in jobs:
            job.add_done_callback(self._forget)
        return jobs

    def close(self, refuse: Callable[[], HeadfirstError]) -> None:
        """Accepts nothing from now on: `accept` raises what `refuse` makes. What was accepted stays."""
        with self._lock:
            self._refuse = refuse

    def open(self) -> None:
        """Accepts messages again."""
        with self._lock:
            self._refuse = None

    def wait_idle(self, timeout: float) -> bool:
        """Blocks until every accepted message is answered, `timeout` seconds at most; whether that is so."""
        with self._lock:
            return self._idle.wait_for(lambda: not (self._unanswered or self._running), timeout)

    def abandon(self) -> list[Job]:
        """Takes all unanswered jobs out, for the caller to answer."""
        with self._lock:
            jobs = list(self._unanswered)
            for job in jobs:
                self._leave(job)
            return jobs

    def stop(self) -> None:
        """Lets `next` and `overdue` return None from now on. A batch that is being run is not waited for."""
        with self._lock:
            self._stopped = True
            self._running.clear()
            self._sleepers.wake_all()
            self._deadline.notify_all()

    # -- the engine's side ------------------------------------------------------------------------------

    def next(self, begin: Callable[[Node], None]) -> Batch | None:
        """Blocks until something waits, then returns a batch of it; None after `stop`.

        Args:
            begin: called with a node before its first step, to give it a state to start from;
                the further on that state is, the less the node costs.
        """
        with self._lock:
            self._sleepers.back()
            while not self._stopped:
                queue = self._scheduler.first()
                if queue is None:
                    self._sleepers.sleep()
                    continue
                now = self._clock()
                slices = queue.take(now, begin, self._threads)
                if slices:
                    return self._batch(queue, slices, now)
            return None

    def release(self, job: Job) -> bool:
        """Takes a job out, for the caller to answer; False if another thread has."""
        with self._lock:
            waited = job in self._unanswered
            if waited:
                self._leave(job)
            return waited

    def answering(self, batch: Batch) -> None:
        """Tells that the calling thread answers a batch: if a small one, what comes meanwhile is for it."""
        if len(batch.slices) <= FEW_ANSWERS:
            with self._lock:
                self._sleepers.returning()

    def finish(self, batch: Batch, answered_tokens: int, unfinished: Sequence[Node]) -> None:
        """Ends a batch, by which messages of so many tokens were answered; what is `unfinished` goes on."""
        with self._lock:
            self._scheduler.ended(batch, self._clock(), answered_tokens)
            queue = self._queue_of[batch.kind]
            going_on = [node for node in unfinished if node.group.unanswered]
            for node in reversed(going_on):
                node.group.put_back(node)
            for node in going_on:
                self._scheduler.line_up(queue, node.group)
                self._sleepers.wake()
            self._running.discard(batch)
            if not (self._unanswered or self._running):
                self._idle.notify_all()

    def shrink(self) -> int:
        """Halves the batches' budgets, for want of memory; each batch lets them grow. Predictions' budget."""
        with self._lock:
            self._scheduler.shrink()
            return self.budgets[0]

    # -- the timer's side -------------------------------------------------------------------------------

    def overdue(self) -> list[Job] | None:
        """Blocks until deadlines have passed, then takes out and returns their jobs; None after `stop`."""
        with self._lock:
            while not self._stopped:
                now = self._clock()
                late = [job for job in self._unanswered if job.deadline <= now]
                if late:
                    for job in late:
                        self._leave(job)
                        self._rejected("expired")
                    return late
                self.wake_at = min((job.deadline for job in self._unanswered), default=math.inf)
                self._timer_sleeps = True
                self._deadline.wait(min(self.wake_at - now, threading.TIMEOUT_MAX))
                self._timer_sleeps = False
            return None

    # -- under the lock ---------------------------------------------------------------------------------

    def _check_room(self, needs: Mapping[Queue, tuple[int, int]]) -> None:
        """Raises unless each queue has room for so many more messages and tokens."""
        if self._refuse is not None:
            raise self._refuse()
        for queue, (inputs, tokens) in needs.items():
            queue.check_room(inputs, tokens)

    def _admit(self, queue: Queue, group: Group, needs: tuple[int, int]) -> None:
        inputs, tokens = needs
        self._unanswered |= group.unanswered
        self.depth += inputs
        queue.inputs += inputs
        queue.tokens += tokens
        self._scheduler.line_up(queue, group)
        self._sleepers.wake()
        deadline = min(job.deadline for job in group.unanswered)
        if deadline < self.wake_at:
            self.wake_at = deadline
            self._deadline.notify()

    def _batch(self, queue: Queue, slices: list[Slice], now: float) -> Batch:
        batch = Batch(slices, begun_now(slices, self._unanswered, now), now)
        self.depth -= len(batch.begun)
        self._scheduler.started(batch, charge=self._threads > 1)
        if self._threads > 1:
            if self._scheduler.waiting:  # What is left is another thread's.
                self._sleepers.wake()
            else:
                batch.alone = not self._running
        self._running.add(batch)
        return batch

    def _leave(self, job: Job) -> None:
        queue = self._queue_of[type(job.message)]
        self._unanswered.discard(job)
        self.depth -= job.taken is None
        queue.inputs -= 1
        queue.tokens -= job.size
        job.group.unanswered.discard(job)
        if not job.group.unanswered:
            queue.remove(job.group)
        if not self._unanswered:
            self._idle.notify_all()

    def _forget(self, job: Future[Answer]) -> None:
        """Called when a job is done: one that was cancelled leaves at once."""
        if not job.cancelled():
            return
        with self._lock:
            if isinstance(job, Job) and job in self._unanswered:
                self._leave(job)
                # HTTP has a timer too, and may be the first to see that it is too late.
                self._rejected("expired" if job.deadline <= self._clock() else "cancelled")
