"""Waiting requests -> the next batch.

Zero wait: whoever asks gets what is waiting, up to a budget of tokens; with nothing waiting, `next` blocks
without using the CPU. There are two lanes, predictions and bulk scoring, each bounded in messages and
tokens of its own, so that a full bulk queue refuses no keystroke. A batch is of one lane; `Scheduler` says of
which.

The threads that submit, compute and watch the deadlines meet here under one lock. A message is answered by
whoever takes its job out, hence once. A sequence that is in a batch is in no queue until `finish`: whichever
thread has taken the batch owns its sequences alone.

Several threads may run batches at once. A batch is then charged to its lane when it is taken, as long as it
will take by the last ones' measure; so two scoring steps do not run side by side while predictions wait.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from concurrent.futures import Future

from service.contract.errors import HeadfirstError
from service.contract.messages import Answer, Message
from service.engine.prefix_tree import score_sequences
from service.engine.queue import Batch, Queue, begun_now
from service.engine.scheduler import Scheduler
from service.engine.sleepers import Sleepers
from service.engine.work import Group, Job, Sequence, Slice, predict_sequences

FEW_ANSWERS = 4
"""Given in a few ten microseconds."""


class Batcher:
    """The queue between those who ask and the engine.

    Args:
        batch_tokens: budget of a batch of predictions.
        score_tokens: budget of a batch of scoring, if less: a prediction may have to wait for one.
        max_inputs: messages that a lane holds at most, those that are being computed included.
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
        self._lanes = lanes = Scheduler(batch_tokens, score_tokens, max_inputs, max_tokens)
        self._lane = lanes.of
        self._unanswered: set[Job] = set()
        self._wake_at = math.inf
        self._refuse: Callable[[], HeadfirstError] | None = None
        self._threads = threads
        self._running: set[Batch] = set()
        self._stopped = False
        # Reentrant: whoever cancels a future inside a callback of another comes back in.
        self._lock = lock = threading.RLock()
        self._sleepers = Sleepers(lock)
        self._deadline = threading.Condition(lock)
        self._idle = threading.Condition(lock)

    @property
    def tokens(self) -> int:
        """Tokens of all messages that are accepted and not answered."""
        return sum(lane.tokens for lane in self._lanes)

    # -- the side that asks -----------------------------------------------------------------------------

    def submit(self, messages: Many[Message]) -> list[Job]:
        """Accepts all messages or none. Returns their jobs in the same order.

        Raises:
            QueueFull: there is no room for them now.
            TooLarge: there never will be.
            HeadfirstError: what `close` was told.
        """
        needs: dict[Queue, tuple[int, int]] = {}
        for message in messages:
            lane = self._lane[type(message)]
            inputs, tokens = needs.get(lane, (0, 0))
            needs[lane] = (inputs + 1, tokens + message.size)
        with self._lock:
            self._check_room(needs)  # Before anything is made: it must be cheap to refuse.
        groups = {lane: Group() for lane in needs}
        now = self._clock()
        jobs = [Job(message, groups[self._lane[type(message)]], now) for message in messages]
        for lane, group in groups.items():
            members = jobs if len(groups) == 1 else [job for job in jobs if job.group is group]
            make = predict_sequences if lane is self._lanes.predict else score_sequences
            group.unanswered.update(members)
            group.waiting.extend(make(members))
        with self._lock:
            self._check_room(needs)
            for lane, group in groups.items():
                self._admit(lane, group, needs[lane])
        for job in jobs:
            job.add_done_callback(self._forget)
        return jobs

    def close(self, refuse: Callable[[], HeadfirstError]) -> None:
        """Accepts nothing from now on: `submit` raises what `refuse` makes. What was accepted stays."""
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

    def next(self, begin: Callable[[Sequence], None]) -> Batch | None:
        """Blocks until something waits, then returns a batch of it; None after `stop`.

        Args:
            begin: called with a sequence before its first step, to give it a state to start from;
                the further on that state is, the less the sequence costs.
        """
        with self._lock:
            self._sleepers.back()
            while not self._stopped:
                lane = self._lanes.first()
                if lane is None:
                    self._sleepers.sleep()
                    continue
                now = self._clock()
                slices = lane.take(now, begin, self._threads)
                if slices:
                    return self._batch(lane, slices, now)
            return None

    def release(self, job: Job) -> bool:
        """Takes a job out, for the caller to answer; False if somebody else did."""
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

    def finish(self, batch: Batch, answered_tokens: int, unfinished: Many[Sequence]) -> None:
        """Ends a batch, by which messages of so many tokens were answered; what is `unfinished` goes on."""
        with self._lock:
            self._lanes.ended(batch, self._clock(), answered_tokens)
            going_on = [sequence for sequence in unfinished if sequence.group.unanswered]
            for sequence in reversed(going_on):
                sequence.group.put_back(sequence)
            for sequence in going_on:
                self._lanes.line_up(batch.lane, sequence.group)
                self._sleepers.wake()
            self._running.discard(batch)
            if not (self._unanswered or self._running):
                self._idle.notify_all()

    def shrink(self) -> int:
        """Halves the batches' budgets, for want of memory; each batch lets them grow. Predictions' budget."""
        with self._lock:
            self._lanes.shrink()
            return self._lanes.predict.budget

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
                self._wake_at = min((job.deadline for job in self._unanswered), default=math.inf)
                self._deadline.wait(min(self._wake_at - now, threading.TIMEOUT_MAX))
            return None

    # -- under the lock ---------------------------------------------------------------------------------

    def _check_room(self, needs: Mapping[Queue, tuple[int, int]]) -> None:
        """Raises unless each lane has room for so many more messages and tokens."""
        if self._refuse is not None:
            raise self._refuse()
        for lane, (inputs, tokens) in needs.items():
            lane.check_room(inputs, tokens)

    def _admit(self, lane: Queue, group: Group, needs: tuple[int, int]) -> None:
        inputs, tokens = needs
        self._unanswered |= group.unanswered
        self.depth += inputs
        lane.inputs += inputs
        lane.tokens += tokens
        self._lanes.line_up(lane, group)
        self._sleepers.wake()
        deadline = min(job.deadline for job in group.unanswered)
        if deadline < self._wake_at:
            self._wake_at = deadline
            self._deadline.notify()

    def _batch(self, lane: Queue, slices: list[Slice], now: float) -> Batch:
        batch = Batch(lane, slices, begun_now(slices, self._unanswered, now), now)
        self.depth -= len(batch.begun)
        self._lanes.started(batch, charge=self._threads > 1)
        if self._threads > 1:
            if self._lanes.waiting:  # What is left is another thread's.
                self._sleepers.wake()
            else:
                batch.alone = not self._running
        self._running.add(batch)
        return batch

    def _leave(self, job: Job) -> None:
        lane = self._lane[type(job.message)]
        self._unanswered.discard(job)
        self.depth -= job.taken is None
        lane.inputs -= 1
        lane.tokens -= job.size
        job.group.unanswered.discard(job)
        if not job.group.unanswered:
            lane.remove(job.group)
        if not self._unanswered:
            self._idle.notify_all()

    def _forget(self, job: Future[Answer]) -> None:
        """Called when a job is done: one that was cancelled leaves at once."""
        if not job.cancelled():
            return
        with self._lock:
            if isinstance(job, Job) and job in self._unanswered:
                self._leave(job)
                # The asking side has a timer too, and may be the first to see that it is too late.
                self._rejected("expired" if job.deadline <= self._clock() else "cancelled")
