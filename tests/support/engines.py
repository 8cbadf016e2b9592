"""An engine that answers as a test says, and what a real one must agree with."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from models.bundle import Bundle
from service.contract.changes import Changes
from service.contract.engine import State
from service.contract.messages import Answer, Message, Predict, Predicted, Score, Scored, Timing
from service.contract.model_card import ModelCard

TIMING = Timing(queue_seconds=0.001, engine_seconds=0.002, batch_size=3, cached_tokens=4)


def words_for(bundle: Bundle, message: Predict) -> torch.Tensor | None:
    """The ids that may answer a message, by a look at every word; None for all."""
    if not (message.prefix or message.words_only or message.exclude):
        return None
    vocabulary, prefix = bundle.vocabulary, message.prefix or ""
    key = str.casefold if message.ignore_case else str

    def may_answer(i: int, word: str) -> bool:
        if i in message.exclude or (i == vocabulary.end_id and (prefix or message.words_only)):
            return False
        return key(word).startswith(key(prefix)) and (
            not message.words_only or any(c.isalnum() for c in word)
        )

    ids = range(len(vocabulary))
    return torch.tensor([i for i in ids if may_answer(i, vocabulary.word(i))], dtype=torch.int64)


def compute(bundle: Bundle, message: Message) -> Answer:
    """One message answered by the model alone, without batching: what any engine must agree with."""
    model, end = bundle.model, bundle.vocabulary.end_id
    words = [bundle.vocabulary.word(i).casefold() for i in range(len(bundle.vocabulary))]

    def hidden(ids: list[int]) -> torch.Tensor:
        rows, _ = model.encode(torch.tensor([ids]), torch.tensor([len(ids)]), model.initial_state(1))
        return rows[0]

    with torch.inference_mode():
        if isinstance(message, Predict):
            allowed = words_for(bundle, message)
            k = min(message.k, bundle.config.vocabulary_size)
            top = model.topk(hidden([end, *message.tokens])[-1:], k, [allowed])
            found = top.ids[0] >= 0
            return Predicted(
                tuple(top.ids[0][found].tolist()),
                tuple(top.logprobs[0][found].tolist()),
                tuple(top.expanded[0].nonzero()[:, 0].tolist()),
                TIMING,
            )
        rows = hidden([end, *message.context, *message.targets[:-1]])[len(message.context) :]
        if message.ignore_case:
            whole = [
                model.target_logprobs(row.expand(len(words), -1), torch.arange(len(words))) for row in rows
            ]
            same = [
                [i for i, word in enumerate(words) if word == words[target]] for target in message.targets
            ]
            together = [row[ids].logsumexp(0).item() for row, ids in zip(whole, same, strict=True)]
            return Scored(tuple(together), TIMING)
        return Scored(tuple(model.target_logprobs(rows, torch.tensor(message.targets)).tolist()), TIMING)


def model_card(name: str = "m", **changes: Any) -> ModelCard:
    """The card of a small model that does not exist."""
    card = {
        "id": name,
        "created": 1,
        "name": name,
        "architecture": "lstm",
        "vocabulary_size": 9,
        "cutoffs": [3, 5, 7, 9],
        "clusters": 3,
        "parameters": 7,
        "dtype": "float16",
        "device": "cpu",
        "kernels": {},
    }
    return ModelCard.model_validate(card | changes)


class FakeEngine:
    """Answers each message by `answer`, in a thread of its own; `hold` keeps it from beginning."""

    def __init__(self, answer: Callable[[Message], Answer]) -> None:
        self.changes = Changes()
        self._state: State = "ready"
        self.reason = ""
        self.answer = answer
        self.refusal: Exception | None = None
        self.submitted: list[Message] = []
        self.futures: list[Future[Answer]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._thread = ThreadPoolExecutor(1)

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.changes.announce()

    def submit(self, messages: Sequence[Predict | Score]) -> list[Future[Answer]]:
        """All or nothing, as the real one."""
        if self.refusal is not None:
            raise self.refusal
        self.submitted += messages
        futures: list[Future[Answer]] = [Future() for _ in messages]
        self.futures += futures
        self._thread.submit(self._run, list(messages), futures)
        return futures

    def _run(self, messages: list[Message], futures: list[Future[Answer]]) -> None:
        self.hold.wait()
        for message, future in zip(messages, futures, strict=True):
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self.answer(message))
                except Exception as error:
                    future.set_exception(error)

    def close(self) -> None:
        """Ends the thread."""
        self.hold.set()
        self._thread.shutdown()
