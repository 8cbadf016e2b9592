"""The batcher's two queues, and which of them has the next batch."""

import math
from collections.abc import Iterator

from service.contract.messages import Message, Predict, Score
from service.engine.queue import Batch, Queue
from service.engine.work import Group

PREDICT_SHARE = 0.75
"""Predictions' part of the engine's time while scoring waits too."""
PREDICT_SLICE_TOKENS = 32
"""Tokens of a new context in one batch at most: others' keystrokes are in it, too."""
SCORE_SLICE_TOKENS = 64
"""Tokens of a text in one batch at most."""


class Scheduler:
    """Predictions and bulk scoring. Not locked: the batcher does that.

    While both wait, they share the engine's time (stride scheduling): predictions get `PREDICT_SHARE` of it
    and go first on a tie, scoring gets the rest; what one lane leaves is the other's.

    Args:
        batch_tokens: budget of a batch of predictions.
        score_tokens: budget of a batch of scoring, if less.
        max_inputs: messages that a lane holds at most, those that are being computed included.
        max_tokens: tokens that these messages have at most.
    """

    def __init__(self, batch_tokens: int, score_tokens: int, max_inputs: int, max_tokens: int) -> None:
        room = max_inputs, max_tokens
        self.predict = Queue(batch_tokens, PREDICT_SLICE_TOKENS, PREDICT_SHARE, *room)
        self.score = Queue(min(score_tokens, batch_tokens), SCORE_SLICE_TOKENS, 1 - PREDICT_SHARE, *room)
        self._both = (self.predict, self.score)  # In the order that wins a tie.
        self.of: dict[type[Message], Queue] = {Predict: self.predict, Score: self.score}
        """The lane of each kind of message."""
        self._virtual_time = 0.0
        self._last_finish = -math.inf

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._both)

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be put into a batch."""
        return any(lane.waiting for lane in self._both)

    def line_up(self, lane: Queue, group: Group) -> None:
        """Lets the group take turns in its lane."""
        if not lane.waiting:  # A lane that had nothing to do saves up no claim on the other's time.
            lane.clock = max(lane.clock, self._virtual_time)
        lane.add(group)

    def first(self) -> Queue | None:
        """The one whose turn it is; None if nothing waits."""
        return min((lane for lane in self._both if lane.waiting), key=lambda lane: lane.clock, default=None)

    def started(self, batch: Batch, *, charge: bool) -> None:
        """Notes that a batch was taken.

        Args:
            charge: whether its lane is charged now for what it will take by the last ones' measure, and not
                when it ends.
        """
        self._virtual_time = batch.lane.clock
        if charge:
            batch.charged = batch.lane.expected_seconds(batch.tokens)
            batch.lane.charge(batch.charged)

    def ended(self, batch: Batch, now: float, answered_tokens: int) -> None:
        """Charges a batch's lane for its time, in which messages of so many tokens were answered."""
        batch.lane.ended(batch, now - batch.started)
        # Time in which two batches ran counts once.
        elapsed = now - max(batch.started, self._last_finish)
        self._last_finish = now
        for lane in self._both:
            if lane is batch.lane or lane.inputs:
                lane.served(answered_tokens if lane is batch.lane else 0, elapsed)

    def shrink(self) -> None:
        """Halves the budgets of both."""
        for lane in self._both:
            lane.shrink()
