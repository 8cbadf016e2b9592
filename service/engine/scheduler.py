"""The batcher's two queues, and which of them has the next batch."""

import math
from collections.abc import Iterator

from service.contract.messages import Message, Predict, Score
from service.engine.queue import Queue
from service.engine.work import Batch, Group

PREDICT_SHARE = 0.75
"""Predictions' part of the engine's time while scoring waits too."""
PREDICT_SLICE_TOKENS = 32
"""Tokens of a new context in one batch at most: others' keystrokes are in it, too."""
SCORE_SLICE_TOKENS = 64
"""Tokens of a text in one batch at most."""


class Scheduler:
    """Predictions and bulk scoring. Not locked: the batcher does that.

    While both wait, they share the engine's time (stride scheduling): predictions get `PREDICT_SHARE` of it
    and go first on a tie, scoring gets the rest; what one queue leaves is the other's.

    Args:
        batch_tokens: budget of a batch of predictions.
        score_tokens: budget of a batch of scoring, if less.
        max_inputs: messages that each queue holds at most, those that are being computed included.
        max_tokens: tokens that these messages have at most.
    """

    def __init__(self, batch_tokens: int, score_tokens: int, max_inputs: int, max_tokens: int) -> None:
        room = max_inputs, max_tokens
        self.predict = Queue(batch_tokens, PREDICT_SLICE_TOKENS, PREDICT_SHARE, *room)
        self.score = Queue(min(score_tokens, batch_tokens), SCORE_SLICE_TOKENS, 1 - PREDICT_SHARE, *room)
        self._both = (self.predict, self.score)  # In the order that wins a tie.
        self.of: dict[type[Message], Queue] = {Predict: self.predict, Score: self.score}
        """The queue of each kind of message."""
        self._virtual_time = 0.0
        self._last_finish = -math.inf

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._both)

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be put into a batch."""
        return any(queue.waiting for queue in self._both)

    def line_up(self, queue: Queue, group: Group) -> None:
        """Lets the group take turns in its queue."""
        if not queue.waiting:  # A queue that had nothing to do saves up no claim on the other's time.
            queue.clock = max(queue.clock, self._virtual_time)
        queue.add(group)

    def first(self) -> Queue | None:
        """The one whose turn it is; None if nothing waits."""
        return min((each for each in self._both if each.waiting), key=lambda each: each.clock, default=None)

    def started(self, batch: Batch, *, charge: bool) -> None:
        """Notes that a batch was taken.

        Args:
            charge: whether its queue is charged now for what it will take by the last ones' measure, and not
                when it ends.
        """
        queue = self.of[batch.kind]
        self._virtual_time = queue.clock
        if charge:
            batch.charged = queue.expected_seconds(batch.tokens)
            queue.charge(batch.charged)

    def ended(self, batch: Batch, now: float, answered_tokens: int) -> None:
        """Charges a batch's queue for its time, in which messages of so many tokens were answered."""
        ended = self.of[batch.kind]
        ended.ended(batch.tokens, now - batch.started, batch.charged)
        # Time in which two batches ran counts once.
        elapsed = now - max(batch.started, self._last_finish)
        self._last_finish = now
        for queue in self._both:
            if queue is ended or queue.inputs:
                queue.served(answered_tokens if queue is ended else 0, elapsed)

    def shrink(self) -> None:
        """Halves the budgets of both."""
        for queue in self._both:
            queue.shrink()
