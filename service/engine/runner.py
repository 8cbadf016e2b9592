"""A batch on the model: slices -> answers; and what to do when the model fails."""

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
from service.contract.messages import Answer, Predict, Predicted, Score, Scored
from service.engine.buckets import Bucket, split_by_length
from service.engine.head import K_BUCKETS, Found, Head, Scores
from service.engine.state_cache import Entry, StateCache, prefix_keys
from service.engine.work import Group, Job, Sequence, Slice
from service.metrics.registry import STAGES, Metrics

logger = logging.getLogger(__name__)

WARM_UP_SHAPES = ((1, 1), (8, 1), (64, 1), (1, 16), (8, 16), (64, 16))
"""Rows and tokens a row."""
WARM_UP_ROWS = {"cpu": (1, 64), "cuda": tuple(2**i for i in range(11))}
"""Rows of a search: on a GPU each power of two is a bucket with a graph of its own."""


@dataclass(slots=True)
class Outcome:
    """What a batch led to.

    Args:
        answers: to be given.
        unfinished: sequences to go on with, and those that could not begin before.
        out_of_memory: whether the device had too little for the batch as it was.
    """

    answers: list[tuple[Job, Answer | InferenceFailed]] = field(default_factory=list)
    unfinished: list[Sequence] = field(default_factory=list)
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

    def begin(self, sequence: Sequence) -> None:
        """Gives a sequence the state it starts from: after the longest cached prefix of its context, or the
        start."""
        context = sequence.tokens[: sequence.unscored]
        if self._cache.capacity:
            sequence.keys = prefix_keys(context)
        found = self._cache.find(context, sequence.keys)
        if found is not None or not sequence.tokens:
            self._metrics.state_cache_hits_total.inc()
        elif context:
            self._metrics.state_cache_misses_total.inc()
        entry = self._start if found is None else found
        sequence.position, sequence.state, sequence.hidden = len(entry.tokens), entry.state, entry.hidden
        for job in sequence.jobs:
            job.cached = len(entry.tokens)

    def run(self, slices: list[Slice]) -> Outcome:
        """Runs the slices, all predictions or all scoring, and moves their sequences on.

        What fails is halved and tried again, so that only the guilty input fails. What runs out of memory
        is halved too, down to a single token of a single sequence.

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
        predicts = isinstance(slices[0].sequence.jobs[0].message, Predict)
        started = self._clock()
        parts = [Bucket(self._model, self._device, some) for some in split_by_length(slices)]
        self._lap("prepare", started)
        with self._device_turn:
            started = self._clock()
            for part in parts:
                if predicts:
                    part.run_last(self._model)
                else:
                    part.run(self._model)
                if (predicts and self._cache.capacity) or part.continues:
                    part.split(self._model)
            ran = self._lap("body", started)
            if predicts:
                words = self._head.predict(parts)
                ended = self._lap("topk", ran)
            else:
                scores = self._head.score(parts)
                ended = self._lap("score", ran)
        for piece in slices:
            piece.sequence.body_seconds += ran - started
            piece.sequence.head_seconds += ended - ran
        for part in parts:
            part.move_on()
            self._metrics.batch_padding_tokens_total.inc(part.padding)
        unfinished = [piece.sequence for piece in slices if not piece.sequence.finished]
        outcome.unfinished += unfinished
        if predicts:
            for sequence in unfinished:  # A long text that was pasted may be asked for with another end.
                self._keep(sequence)
            self._answer_predictions(words, len(slices), ended, outcome)
        else:
            self._answer_scores(scores, len(slices), ended, outcome)
        self._lap("answer", ended)

    def _answer_predictions(
        self, found: list[tuple[Sequence, Found]], batch_size: int, now: float, outcome: Outcome
    ) -> None:
        for sequence, words in found:
            (job,) = sequence.jobs
            timing = job.timing(now, batch_size, sequence.body_seconds, sequence.head_seconds)
            answer = Predicted(words.ids, words.logprobs, words.clusters, timing, words.error, words.drawn)
            outcome.answers.append((job, answer))
            if job.cached < len(sequence.tokens):
                self._keep(sequence)
        self._metrics.cluster_rows_total.inc(len(found))
        for cluster, rows in Counter(chain.from_iterable(words.clusters for _, words in found)).items():
            self._expansions[cluster].inc(rows)

    def _keep(self, sequence: Sequence) -> None:
        assert sequence.hidden is not None  # noqa: S101 -- it has run
        end = sequence.position
        # A context that is part of a scored text has no more keys than it has tokens.
        key = sequence.keys[end] if end < len(sequence.keys) else None
        self._cache.put(sequence.tokens[:end], sequence.state, sequence.hidden, key)

    def _answer_scores(
        self, scored: list[tuple[Sequence, Scores]], batch_size: int, now: float, outcome: Outcome
    ) -> None:
        for sequence, scores in scored:
            sequence.logprobs += scores.logprobs
            sequence.error = max(sequence.error, scores.error)
            sequence.tops += scores.tops
            if not sequence.finished:
                continue
            for child in sequence.children:
                child.state, child.hidden = sequence.state, sequence.hidden
            outcome.unfinished += sequence.children
            # The children have it all now; what refers to itself would be freed late.
            sequence.state, sequence.hidden, sequence.children = (), None, []
            for job in sequence.ends:
                timing = job.timing(now, batch_size, *sequence.path_seconds())
                answer = Scored(sequence.path_logprobs(), timing, sequence.path_error(), sequence.path_tops())
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
        sequence, count = slices[0].sequence, slices[0].count
        if out_of_memory and (freed or count > 1):
            return [[Slice(sequence, (count + 1) // 2)]]
        logger.error(
            "The model failed on an input.",
            exc_info=error,
            extra={"fields": {"id": sequence.jobs[0].message.id, "inputs": len(sequence.jobs)}},
        )
        self._metrics.inference_failures_total.inc(len(sequence.jobs))
        outcome.answers += [(job, InferenceFailed()) for job in sequence.jobs]
        self._run_start()
        return []

    def _run_start(self) -> Entry:
        """The body after the start word, from which every sequence begins; and a search for one word
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


def warm_up(bundle: Bundle) -> None:
    """Runs batches of typical shapes and every bucket of the search, so that no client waits for what the
    first of a shape sets up.

    Uses a cache and metrics of its own: what is served starts at zero.
    """
    runner = Runner(bundle, StateCache(1 << 20), Metrics(bundle.config.n_clusters))
    size = len(bundle.vocabulary)
    for rows, count in WARM_UP_SHAPES:
        for kind in (Predict, Score):
            slices = []
            for row in range(rows):
                tokens = tuple(7919 * (row + i) % size for i in range(count))  # From all over the vocabulary.
                message = (
                    Predict("", tokens, 10, None, None) if kind is Predict else Score("", (), tokens, None)
                )
                job = Job(message, Group(), 0.0)
                known = count if kind is Predict else 0
                sequence = Sequence(tokens, max(known, count - 1), known, [job], [job])
                runner.begin(sequence)
                slices.append(Slice(sequence, sequence.inputs - sequence.position))
            runner.run(slices)
    _warm_up_search(bundle, runner)


def _warm_up_search(bundle: Bundle, runner: Runner) -> None:
    """Searches of every number of rows and of every size of k, with and without a prefix, in both modes."""
    model, size = bundle.model, len(bundle.vocabulary)
    prefixed = bundle.vocabulary.starting_with("a").to(bundle.device)
    row = runner.start_hidden
    for rows in WARM_UP_ROWS.get(bundle.device.type, (1,)):
        hidden = row.expand(rows, -1).contiguous()
        for k in {min(bucket, size) for bucket in K_BUCKETS}:
            model.topk(hidden, k).ids.tolist()
        for allowed in (None, [prefixed] * rows):
            model.topk(hidden, min(K_BUCKETS[0], size), allowed).ids.tolist()
            model.topk_bounded(hidden, min(K_BUCKETS[0], size), allowed)[0].ids.tolist()
        model.target_logprobs_bounded(hidden, torch.zeros(rows, dtype=torch.int64, device=bundle.device))
