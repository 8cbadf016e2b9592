"""A model that records what it runs, and that a test can make wait or fail."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from models.bundle import Bundle
from models.language_model import LanguageModel
from service.contract.messages import Message, Predict, Predicted, Score, Scored
from service.engine.engine import Engine
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.engines import words_for

WAIT_SECONDS = 30


class Spy:
    """Does what its `LanguageModel` does, and calls `before` with the ids of each step before it."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.steps: list[list[list[int]]] = []
        """The ids of each call of `encode` or `encode_last`, without padding."""
        self.before: Callable[[list[list[int]]], None] = lambda rows: None
        self.open = threading.Event()
        self.open.set()
        self.waits = threading.Event()
        """Set while a step waits for `open`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode(self, ids: Tensor, lengths: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        self._told(ids, lengths)
        return self.model.encode(ids, lengths, state)

    def encode_last(self, ids: Tensor, lengths: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        self._told(ids, lengths)
        return self.model.encode_last(ids, lengths, state)

    def _told(self, ids: Tensor, lengths: Tensor) -> None:
        rows = [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
        self.steps.append(rows)
        self.waits.set()
        assert self.open.wait(WAIT_SECONDS)
        self.waits.clear()
        self.before(rows)

    @property
    def tokens(self) -> int:
        """Tokens run since the last `forget`."""
        return sum(len(row) for rows in self.steps for row in rows)

    def forget(self) -> None:
        self.steps.clear()

    @contextmanager
    def closed(self, engine: Engine, message: Message) -> Iterator[None]:
        """A context during which a step with `message` runs and does not end."""
        self.waits.clear()
        self.open.clear()
        (future,) = engine.submit([message])
        try:
            assert self.waits.wait(WAIT_SECONDS)
            yield
        finally:
            self.open.set()
            future.exception(WAIT_SECONDS)


class Watched:
    """A running engine with a spy for a model."""

    def __init__(self, bundle: Bundle, **settings: object) -> None:
        self.spy = Spy(bundle.model)
        self.bundle = dataclasses.replace(bundle, model=cast(LanguageModel, self.spy))
        self.metrics = Metrics(bundle.config.n_clusters)
        self.engine = Engine(self.bundle, Settings(**settings), self.metrics)  # type: ignore[arg-type]

    def start(self) -> None:
        """Returns when the warm-up is done."""
        self.engine.start()
        self.wait_until("ready")
        self.spy.forget()

    def wait_until(self, state: str) -> None:
        """Returns when the engine has this state."""
        changed = threading.Event()
        with self.engine.changes.subscribed(changed.set):
            while self.engine.state != state:
                assert changed.wait(WAIT_SECONDS), f"it is {self.engine.state}: {self.engine.reason}"
                changed.clear()

    def wait_idle(self) -> None:
        """Returns when every message is answered and counted, and the engine's threads and its timer
        sleep: a thread goes on for a moment after its answers, without an announcement."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.engine.idle:
            assert time.monotonic() < end, "a thread is awake"
            time.sleep(0.001)

    def ask(self, *messages: Message) -> list[Any]:
        """The answers to messages of one call."""
        return [future.result(WAIT_SECONDS) for future in self.engine.submit(messages)]

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"headfirst_{name}", labels)
        assert value is not None, f"no series headfirst_{name}{labels}"
        return value


Make = Callable[..., Watched]


def running_engines(bundle: Bundle) -> Iterator[Make]:
    """For a fixture: makes engines with the given settings, starts them, and stops them in the end."""
    made: list[Watched] = []

    def make(**settings: object) -> Watched:
        made.append(Watched(bundle, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for watched in made:
        watched.spy.open.set()
        watched.engine.stop()


def predict(
    tokens: Sequence[int], k: int = 10, prefix: str | None = None, deadline: float | None = None
) -> Predict:
    return Predict("p", tuple(tokens), k, prefix, deadline)


def score(targets: Sequence[int], context: Sequence[int] = (), deadline: float | None = None) -> Score:
    return Score("s", tuple(context), tuple(targets), deadline)


@torch.inference_mode()
def hidden_rows(bundle: Bundle, tokens: Sequence[int]) -> Tensor:
    """(n + 1, d) all in one go, one sequence alone: the hidden rows after the start word and each token."""
    ids = torch.tensor([[bundle.vocabulary.end_id, *tokens]])
    model = bundle.model
    return model.encode(ids, torch.tensor([ids.shape[1]]), model.initial_state(1))[0][0]


@torch.inference_mode()
def check(bundle: Bundle, message: Message, answer: Predicted | Scored) -> None:
    """Raises AssertionError unless the answer is that of one sequence computed alone."""
    model = bundle.model
    if isinstance(message, Predict):
        assert isinstance(answer, Predicted)
        k = min(message.k, len(bundle.vocabulary))
        top = model.topk(hidden_rows(bundle, message.tokens)[-1:], k, [words_for(bundle, message)])
        n = int((top.ids[0] >= 0).sum())
        assert answer.ids == tuple(top.ids[0, :n].tolist())
        expected = top.logprobs[0, :n]
        opened = set(top.expanded[0].nonzero()[:, 0].tolist())
        # For the words that are excluded some more may be opened.
        assert set(answer.clusters) >= opened if message.exclude else set(answer.clusters) == opened
    else:
        assert isinstance(answer, Scored)
        if not message.targets:
            assert answer.logprobs == ()
            return
        rows = hidden_rows(bundle, message.context + message.targets[:-1])[len(message.context) :]
        expected = model.target_logprobs(rows, torch.tensor(message.targets))
    torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=1e-4, rtol=0)


def submit(watched: Watched, *messages: Message) -> list[Any]:
    """The futures of one call."""
    return watched.engine.submit(messages)


def error_of(future: Any) -> BaseException | None:
    """What a future ends with, None if that is an answer."""
    error: BaseException | None = future.exception(WAIT_SECONDS)
    return error


POISON = 279
BLOCKER = predict([3])
"""Runs while others wait."""


def poisoned(rows: list[list[int]]) -> None:
    """Makes a model fail on one word."""
    if any(POISON in row for row in rows):
        raise ValueError("poison")
