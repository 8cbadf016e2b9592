"""One of the batcher's two queues: groups of messages that take turns."""

import math
from collections import OrderedDict
from collections.abc import Callable

from service.contract.errors import QueueFull, TooLarge
from service.contract.retry_after import retry_after
from service.engine.work import Group, Node, Slice

MIN_SLICE_TOKENS = 16
"""Sequences are not cut shorter, but for lack of budget: below this a step's fixed cost shows."""
GROWTH_STEPS = 256
"""Batches after which a budget that was shrunk to nothing is whole again."""
RATE_MEMORY_SECONDS = 10.0
RATE_WEIGHT = 0.25
"""Of the last batch in the seconds that a token is expected to take."""


class Queue:
    """Groups in rotation. Not locked: the batcher does that.

    A batch's budget is shared evenly by the groups that wait: each takes a turn, whatever it leaves goes to
    the next ones, and those that had a turn stand at the back. So of two clients that score, the one that
    sent 10,000 sentences gets no more of a batch than the one that sent a hundred.

    Sequences are run in slices: the body takes a row's tokens one after another, so that many short rows are
    faster than a few long ones, and the longest decides how long those that arrive meanwhile must wait.

    Args:
        budget: tokens a batch at most.
        slice_tokens: tokens of one node in a batch at most; a group's turn is no less.
        share: this queue's part of the engine's time while the other queue waits too.
        max_inputs: messages that it holds at most, those that are being computed included.
        max_tokens: tokens that these messages have at most.
    """

    def __init__(
        self, budget: int, slice_tokens: int, share: float, max_inputs: int, max_tokens: int
    ) -> None:
        self.full_budget = budget
        self.budget = budget
        self.slice_tokens = slice_tokens
        self.share = share
        self._max_inputs, self._max_tokens = max_inputs, max_tokens
        self.inputs = 0
        """Messages that are accepted and not answered."""
        self.tokens = 0
        """Tokens of these messages."""
        self.clock = 0.0
        """Engine seconds that this queue had, divided by its share: the queue that is behind goes first."""
        self.waiting: OrderedDict[Group, None] = OrderedDict()
        """The groups of which something waits to be put into a batch, in the order of their turns."""
        self._served_tokens = 0.0
        self._served_seconds = 0.0
        self._token_seconds = 0.0

    def has_work(self, now: float) -> bool:
        """Whether `take` would return anything."""
        return any(group.alive(node, now) for group in self.waiting for node in group.waiting)

    def check_room(self, inputs: int, tokens: int) -> None:
        """Raises unless there is room for so many more messages and tokens.

        Raises:
            QueueFull: there is none now.
            TooLarge: there never will be.
        """
        max_inputs, max_tokens = self._max_inputs, self._max_tokens
        if inputs > max_inputs or tokens > max_tokens:
            raise TooLarge(
                f"The request has {inputs} inputs with {tokens} words; the queue takes at most "
                f"{max_inputs} inputs with {max_tokens} words.",
                code="request_too_large",
            )
        if self.inputs + inputs > max_inputs or self.tokens + tokens > max_tokens:
            raise QueueFull(retry_after=retry_after(self.tokens, self._served_tokens, self._served_seconds))

    def add(self, group: Group) -> None:
        """Lets the group take turns, from the back; one that already does keeps its place."""
        self.waiting[group] = None

    def remove(self, group: Group) -> None:
        """Drops a group whose answers are of no use any more."""
        group.waiting.clear()
        self.waiting.pop(group, None)

    def take(self, now: float, begin: Callable[[Node], None], threads: int = 1) -> list[Slice]:
        """The next batch, at most the budget's worth; empty if all that was queued is overdue or cancelled.

        One of several `threads` that run batches at once takes no more than its part of what is unanswered,
        so that the others have something to do, too: each row costs the same in a batch of any size but the
        smallest.

        `begin` is called with each node that has no state yet, before its cost is asked: it may move the
        node forward to a cached one.
        """
        taken: dict[Group, list[Slice]] = {}
        budget = left = min(self.budget, max(self.slice_tokens, -(-self.tokens // threads)))
        turns = len(self.waiting)
        while left > 0 and self.waiting:
            group = next(iter(self.waiting))
            share = min(left, max(self.slice_tokens, left // max(1, turns)))
            cost = self._take_turn(
                group, taken.setdefault(group, []), share, now, begin, alone=left == budget
            )
            left -= cost
            turns -= 1  # After each group's turn, the next in line may have all that is left.
            if not group.waiting:
                del self.waiting[group]
            elif cost:
                self.waiting.move_to_end(group)
            else:
                break  # The rest of the budget is smaller than its turn: it goes first in the next batch.
        return [piece for slices in taken.values() for piece in slices]

    def _take_turn(
        self,
        group: Group,
        slices: list[Slice],
        share: int,
        now: float,
        begin: Callable[[Node], None],
        *,
        alone: bool,
    ) -> int:
        """Adds the group's next slices, `share` tokens at most, to those it has in the batch; returns their
        cost. A piece that only the share would cut short is left for the next turn, unless it would be
        `alone` in its batch."""
        left = share
        # With more nodes than the share has room for, shorter slices of more of them.
        even = share // max(1, len(group.waiting))
        most = min(self.slice_tokens, max(MIN_SLICE_TOKENS, even))
        while group.waiting and left > 0:
            node = group.waiting[0]
            if not group.alive(node, now):
                group.waiting.popleft()
                continue
            if slices and slices[-1].node.children and not node.children:
                break  # A tree's inner nodes first: then all its leaves can be run side by side.
            if node.hidden is None:
                begin(node)
            wanted = min(node.cost, most)
            if wanted > left and (left < share or not alone):
                break
            group.waiting.popleft()
            count = min(wanted, left, max(0, node.inputs - node.position))
            slices.append(Slice(node, count))
            left -= slices[-1].cost
        return share - left

    def shrink(self) -> None:
        """Halves the budget."""
        self.budget = max(1, self.budget // 2)

    def served(self, tokens: int, seconds: float) -> None:
        """Notes that messages of so many tokens were answered in this time."""
        decay = math.exp(-seconds / RATE_MEMORY_SECONDS)
        self._served_tokens = self._served_tokens * decay + tokens
        self._served_seconds = self._served_seconds * decay + seconds

    def charge(self, seconds: float) -> None:
        """Counts engine time against this queue."""
        self.clock += seconds / self.share

    def expected_seconds(self, tokens: int) -> float:
        """What a batch of so many tokens will take, by the last ones; 0 before there was one."""
        return tokens * self._token_seconds

    def ended(self, tokens: int, seconds: float, charged: float) -> None:
        """Notes how long a batch of so many tokens took, and gives a part of a shrunk budget back.

        Args:
            charged: the part of its seconds that is counted already.
        """
        self.charge(seconds - charged)
        weight = RATE_WEIGHT if self._token_seconds else 1
        self._token_seconds += (seconds / tokens - self._token_seconds) * weight
        self.budget = min(self.full_budget, self.budget + -(-self.full_budget // GROWTH_STEPS))
