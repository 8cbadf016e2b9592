"""A batch on the model: slices -> answers; halves a batch on which the model fails."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock

import torch
from torch import Tensor

from models.bundle import Bundle
from service.contract.errors import InferenceFailed
from service.contract.messages import Answer, Predict, Predicted, Scored
from service.engine.buckets import Bucket, split_by_length
from service.engine.head import Found, Head, Scores
from service.engine.state_cache import Entry, StateCache, prefix_keys
from service.engine.work import Job, Node, Slice
from service.metrics.registry import STAGES, Metrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a batch led to.

    Args:
        answers: to be given.
        unfinished: nodes to go on with, and those that could not begin before.
        out_of_memory: whether the device had too little for the batch as it was.
    """

    answers: list[tuple[Job, Answer | InferenceFailed]] = field(default_factory=list)
    unfinished: list[Node] = field(default_factory=list)
    out_of_memory: bool = False


class Runner:
    """Runs slices on the model. Used by the engine's threads, each with slices of its own, in inference mode.

    On the CPU they run the model at the same time. A GPU is one thread's at a time; the others prepare their
    batch meanwhile, or answer.

    Args:
        bundle: the model.
        cache: where the states of predictions are kept.
        metrics: told each stage's duration, padding, clusters, cache hits and failures.
        clock: seconds, the clock of `Job.submitted`.
    """

    def __init__(
        self,
        bundle: Bundle,
        cache: StateCache,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = bundle.model
        self._device = bundle.device
        self._start_id = bundle.vocabulary.start_id
        self._head = Head(bundle)
        self._cache = cache
        self._metrics = metrics
        self._clock = clock
        self._stages = {stage: metrics.step_duration_seconds.labels(stage) for stage in STAGES}
        self._expansions = [
            metrics.cluster_expansions_total.labels(str(cluster))
            for cluster in range(bundle.config.n_clusters)
        ]
        # The CPU's kernels may be called by several threads at once; the GPU's have their buffers once.
        self._device_turn: AbstractContextManager[object] = (
            nullcontext() if bundle.device.type == "cpu" else Lock()
        )
        self._start = self._run_start()

    @property
    def start_hidden(self) -> Tensor:
        """(d,) the hidden row after the start word."""
        return self._start.hidden

    def begin(self, node: Node) -> None:
        """Gives a node the state it starts from: after the longest cached prefix of its context, or the
        start."""
        context = node.tokens[: node.unscored]
        if self._cache.capacity:
            node.keys = prefix_keys(context)
        found = self._cache.find(context, node.keys)
        if found is not None or not node.tokens:
            self._metrics.state_cache_hits_total.inc()
        elif context:
            self._metrics.state_cache_misses_total.inc()
        entry = self._start if found is None else found
        node.position, node.state, node.hidden = len(entry.tokens), entry.state, entry.hidden
        for job in node.jobs:
            job.cached = len(entry.tokens)

    def answer(self, slices: list[Slice]) -> Outcome:
        """Runs the slices, all predictions or all scoring, and moves their nodes on.

        What fails is halved and tried again, so that only the guilty input fails. What runs out of memory
        is halved too, down to a single token of a single node.

        Raises:
            Exception: the model fails on the start word as well: then it is no input's fault.
        """
        outcome = Outcome()
        waiting = [slices]
        while waiting:
            some = waiting.pop()
            try:
                self._step(some, outcome)
            except Exception as error:
                waiting += self._after_failure(some, error, outcome)
        return outcome

    # -- one step ---------------------------------------------------------------------------------------

    def _step(self, slices: list[Slice], outcome: Outcome) -> None:
        """Body, head, answers. Nothing is changed before everything that can fail is done."""
        predicts = isinstance(slices[0].node.jobs[0].message, Predict)
        started = self._clock()
        buckets = [Bucket(self._model, self._device, some) for some in split_by_length(slices)]
        self._lap("prepare", started)
        with self._device_turn:
            started = self._clock()
            for bucket in buckets:
                if predicts:
                    bucket.encode_last(self._model)
                else:
                    bucket.encode(self._model)
                if (predicts and self._cache.capacity) or bucket.continues:
                    bucket.split(self._model)
            ran = self._lap("body", started)
            if predicts:
                words = self._head.search(buckets)
                ended = self._lap("topk", ran)
            else:
                scores = self._head.score(buckets)
                ended = self._lap("score", ran)
        for piece in slices:
            piece.node.body_seconds += ran - started
            piece.node.head_seconds += ended - ran
        for bucket in buckets:
            bucket.move_on()
            self._metrics.batch_padding_tokens_total.inc(bucket.padding)
        unfinished = [piece.node for piece in slices if not piece.node.finished]
        outcome.unfinished += unfinished
        if predicts:
            for node in unfinished:  # A long text that was pasted may be asked for with another end.
                self._keep(node)
            self._answer_predictions(words, len(slices), ended, outcome)
        else:
            self._answer_scores(scores, len(slices), ended, outcome)
        self._lap("answer", ended)

    def _answer_predictions(
        self, found: list[tuple[Node, Found]], batch_size: int, now: float, outcome: Outcome
    ) -> None:
        for node, words in found:
            (job,) = node.jobs
            timing = job.timing(now, batch_size, node.body_seconds, node.head_seconds)
            answer = Predicted(words.ids, words.logprobs, words.clusters, timing, words.error, words.drawn)
            outcome.answers.append((job, answer))
            if job.cached < len(node.tokens):
                self._keep(node)
        self._metrics.cluster_rows_total.inc(len(found))
        for cluster, rows in Counter(chain.from_iterable(words.clusters for _, words in found)).items():
            self._expansions[cluster].inc(rows)

    def _keep(self, node: Node) -> None:
        assert node.hidden is not None  # noqa: S101 -- it has run
        end = node.position
        # A context that is part of a scored text has no more keys than it has tokens.
        key = node.keys[end] if end < len(node.keys) else None
        self._cache.put(node.tokens[:end], node.state, node.hidden, key)

    def _answer_scores(
        self, scored: list[tuple[Node, Scores]], batch_size: int, now: float, outcome: Outcome
    ) -> None:
        for node, scores in scored:
            node.logprobs += scores.logprobs
            node.error = max(node.error, scores.error)
            node.tops += scores.tops
            if not node.finished:
                continue
            for child in node.children:
                child.state, child.hidden = node.state, node.hidden
            outcome.unfinished += node.children
            # The children have it all now; what refers to itself would be freed late.
            node.state, node.hidden, node.children = (), None, []
            for job in node.ends:
                timing = job.timing(now, batch_size, *node.path_seconds())
                answer = Scored(node.path_logprobs(), timing, node.path_error(), node.path_tops())
                outcome.answers.append((job, answer))

    def _lap(self, stage: str, started: float) -> float:
        now = self._clock()
        self._stages[stage].observe(now - started)
        return now

    # -- when it fails ----------------------------------------------------------------------------------

    def _after_failure(self, slices: list[Slice], error: Exception, outcome: Outcome) -> list[list[Slice]]:
        """What to try next instead of `slices`; nothing for a single slice, whose messages fail."""
        out_of_memory = is_out_of_memory(error)
        freed = len(self._cache) > 0
        if out_of_memory:
            outcome.out_of_memory = True
            self._metrics.out_of_memory_total.inc()
            self._cache.clear()
            torch.cuda.empty_cache()  # Does nothing where CUDA is not in use.
        if len(slices) > 1:
            half = len(slices) // 2
            return [slices[half:], slices[:half]]
        node, count = slices[0].node, slices[0].count
        if out_of_memory and (freed or count > 1):
            return [[Slice(node, (count + 1) // 2)]]
        logger.error(
            "The model failed on an input.",
            exc_info=error,
            extra={"fields": {"id": node.jobs[0].message.id, "inputs": len(node.jobs)}},
        )
        self._metrics.inference_failures_total.inc(len(node.jobs))
        outcome.answers += [(job, InferenceFailed()) for job in node.jobs]
        self._run_start()
        return []

    def _run_start(self) -> Entry:
        """The body after the start word, from which every node begins; and a search for one word
        there."""
        with self._device_turn:
            ids = torch.tensor([[self._start_id]], device=self._device)
            hidden, state = self._model.encode(ids, torch.tensor([1]), self._model.initial_state(1))
            # Fetched, because a GPU shows its faults only then.
            self._model.topk(hidden[:, 0], 1).ids.tolist()
            return Entry((), self._model.split_state(state)[0], hidden[0, 0].clone())


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device had no memory left: torch says it in more than one way."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory")
    )
