"""Owns the model and the device; one loop: schedule, run, answer.

    any thread:         submit -> Batcher.accept
    an engine's thread: Batcher.next -> Runner.answer -> futures -> Batcher.finish

Threads meet in the batcher: those that submit; the engine's, which alone touch the model, each with a batch
of its own; and a timer that answers what is overdue while the engine does anything else. None of them uses
the CPU while nothing is asked.

While one engine thread's batch is on the device, the next is put together, prepared and, on a CPU, run by
another: see benchmarks/results for what that gives.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import torch

from models.bundle import Bundle
from models.kernels.cpu.library import thread_count
from service.contract.changes import Changes
from service.contract.engine import State
from service.contract.errors import DeadlineExceeded, Draining, HeadfirstError, NotReady
from service.contract.messages import Answer, Message
from service.contract.wakeups import together
from service.engine.batcher import Batcher
from service.engine.runner import Outcome, Runner
from service.engine.state_cache import StateCache
from service.engine.warm_up import warm_up
from service.engine.work import Batch
from service.metrics.registry import Metrics
from service.settings.settings import Settings

logger = logging.getLogger(__name__)

ENGINE_NICE = 5
"""An engine thread's niceness over its process's: with it a core gives a third of the time that one without
gets."""

JOIN_SECONDS = 10.0
"""What `stop` waits for the batch that is being run."""


class Engine:
    """Answers messages with the model, many at a time.

    Args:
        bundle: the model; the engine alone may use it while it runs.
        settings: the limits and budgets.
        metrics: gets all that the engine measures; several engines may share it.
    """

    def __init__(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> None:
        self._bundle = bundle
        self._metrics = metrics
        self.changes = Changes()
        """Announces each change of `state`, after it."""
        self._state: State = "starting"
        self._reason = "the model is warming up"
        self._lock = threading.Lock()
        self._engine_threads, self._kernel_threads, self._all_threads = share_threads(settings, bundle.device)
        rejected = {reason: metrics.rejected_total.labels(reason) for reason in ("expired", "cancelled")}
        self._batcher = Batcher(
            batch_tokens=settings.max_batch_tokens,
            score_tokens=settings.score_step_tokens,
            max_inputs=settings.max_queue_requests,
            max_tokens=settings.max_queue_tokens,
            rejected=lambda reason: rejected[reason].inc(),
            threads=self._engine_threads,
        )
        self._batcher.close(self._not_ready)
        self._cache = StateCache(settings.state_cache_bytes)
        self._began: dict[int, float] = {}
        """When the batch of each thread that runs one began, by the thread's number."""
        self._hangs = False
        """Whether the engine was given up: its threads are not waited for."""
        self._leader = self._thread("engine", self._lead)
        self._helpers = [
            self._thread(f"engine-{number}", partial(self._help, number))
            for number in range(1, self._engine_threads)
        ]
        self._timer = self._thread("deadlines", self._watch_deadlines)
        self._threads = [self._leader, self._timer, *self._helpers]
        metrics.watch(self)

    @property
    def model(self) -> str:
        """The name under which its model is served."""
        return self._bundle.name

    @property
    def state(self) -> State:
        """`starting` until the warm-up is done; then `ready`, `draining` or `dead`."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._reason

    @property
    def queue_depth(self) -> int:
        """Messages that wait for their first batch."""
        return self._batcher.depth

    @property
    def queue_tokens(self) -> int:
        """Tokens of all messages that are accepted and not answered."""
        return self._batcher.tokens

    @property
    def cache_bytes(self) -> int:
        """Memory held by cached states."""
        return self._cache.nbytes

    @property
    def stalled(self) -> float:
        """Seconds since the oldest batch began that is being run; 0 while none is."""
        began = min(self._began.copy().values(), default=None)
        return 0.0 if began is None else time.monotonic() - began

    @property
    def idle(self) -> bool:
        """Whether all threads sleep: nothing is asked, and the last answers are given and counted."""
        return self._batcher.idle()

    def start(self) -> None:
        """Starts the threads and returns at once; the warm-up runs on the engine's."""
        self._leader.start()
        self._timer.start()

    def submit(self, messages: Sequence[Message]) -> list[Future[Answer]]:
        """Accepts all messages or none. Their futures, in the same order, get the answers or a
        `HeadfirstError`.

        May be called by any thread. Cancelling a future takes its message out before it is computed.

        Raises:
            NotReady, Draining: the engine accepts nothing now.
            QueueFull: there is no room for all of them; `retry_after` says when there may be.
            TooLarge: there never will be.
        """
        return list(self._batcher.accept(messages))

    def drain(self, timeout: float) -> bool:
        """Accepts nothing more and waits, `timeout` seconds at most, until what was accepted is answered.

        What is not answered then gets `Draining`. Returns whether everything was answered.
        """
        with self._lock:
            if self._state != "dead":
                self._state, self._reason = "draining", "the server is shutting down"
                self._batcher.close(Draining)
        self.changes.announce()
        drained = self._batcher.wait_idle(timeout)
        self._abandon(Draining)
        return drained and self._state != "dead"

    def stop(self) -> None:
        """Ends the threads after the batch that is being run; what is not answered gets `NotReady`."""
        self._die("the engine was stopped")
        for thread in self._threads:
            if thread.is_alive() and not self._hangs:
                thread.join(JOIN_SECONDS)
        self._metrics.forget(self)

    def fail(self, reason: str) -> None:
        """Gives the engine up, and what it runs: its process sees that it is stalled for good."""
        logger.critical("The engine is given up: %s.", reason)
        self._hangs = True
        self._die(reason)

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=self._guard, args=[work], name=f"headfirst-{name}", daemon=True)

    def _guard(self, work: Callable[[], None]) -> None:
        """What the threads run: none of them ends unnoticed."""
        try:
            work()
        except BaseException as error:
            logger.critical("The engine died.", exc_info=error)
            self._die(f"the engine died of {type(error).__name__}")

    def _die(self, reason: str) -> None:
        """Accepts nothing ever again, and leaves no future unresolved. The first reason stays."""
        with self._lock:
            if self._state != "dead":
                self._state, self._reason = "dead", reason
                self._batcher.close(self._not_ready)
        self._batcher.stop()
        self._abandon(self._not_ready)
        self.changes.announce()

    def _abandon(self, make_error: Callable[[], HeadfirstError]) -> None:
        with together():
            for job in self._batcher.abandon():
                job.resolve(make_error())

    def _not_ready(self) -> NotReady:
        return NotReady(f"The model is not ready: {self._reason}.")

    # -- the engine's threads ---------------------------------------------------------------------------

    def _lead(self) -> None:
        set_threads(self._kernel_threads)
        self._runner = self._open()
        for thread in self._helpers:
            thread.start()
        self._work(0)

    def _help(self, number: int) -> None:
        set_threads(self._kernel_threads)
        self._work(number)

    @torch.inference_mode()
    def _open(self) -> Runner:
        warm_up(self._bundle)
        runner = Runner(self._bundle, self._cache, self._metrics)
        with self._lock:
            if self._state == "starting":
                self._batcher.open()
                self._state, self._reason = "ready", ""
        self.changes.announce()
        return runner

    @torch.inference_mode()
    def _work(self, number: int) -> None:
        runner = self._runner
        yield_to_http()
        threads = self._kernel_threads
        while (batch := self._batcher.next(runner.begin)) is not None:
            self._began[number] = batch.started
            # A lone client's keystroke is answered by all cores.
            wanted = self._all_threads if batch.alone else self._kernel_threads
            if wanted != threads:
                set_threads(wanted)
                threads = wanted
            outcome = runner.answer(batch.slices)
            self._answer(batch, outcome)
            del self._began[number]

    def _answer(self, batch: Batch, outcome: Outcome) -> None:
        self._batcher.answering(batch)
        tokens = 0
        with together():
            for job, answer in outcome.answers:
                if self._batcher.release(job):
                    tokens += job.message.size
                    job.resolve(answer)
        self._batcher.finish(batch, tokens, outcome.unfinished)
        self._metrics.batch_size.observe(len(batch.slices))
        self._metrics.batch_tokens.observe(batch.tokens)
        for job in batch.begun:
            self._metrics.queue_duration_seconds.observe(batch.started - job.submitted)
        if outcome.out_of_memory:
            logger.warning("Out of memory: batches now have at most %d tokens.", self._batcher.shrink())

    # -- the timer's thread -----------------------------------------------------------------------------

    def _watch_deadlines(self) -> None:
        while (late := self._batcher.overdue()) is not None:
            with together():
                for job in late:
                    job.resolve(DeadlineExceeded())


def yield_to_http() -> None:
    """Lowers the calling thread's priority below that of the threads which serve HTTP.

    With more requests than can be answered, refusing them must not wait for the cores that the model keeps
    busy: 1,000 a second refused beside 2,000 answered on two cores took 2.5 s at the 99th percentile without
    this, and fewer were answered in time. Only Linux has a priority for each thread.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + ENGINE_NICE)


def set_threads(number: int) -> None:
    """How many threads the calling thread's kernels have from now on."""
    # A thread's first look at the number makes it its own; what is set before, another thread may undo.
    torch.get_num_threads()
    torch.set_num_threads(number)


def share_threads(settings: Settings, device: torch.device) -> tuple[int, int, int]:
    """How many batches run at once, how many CPU threads each of them has, and one that runs alone.

    See `Settings.engine_threads`. On a GPU two take turns at the device: one prepares its batch, or answers,
    while the other's runs.
    """
    threads = settings.threads or thread_count()
    batches = settings.engine_threads or (min(2, threads) if device.type == "cpu" else 2)
    return batches, max(1, threads // batches), threads
