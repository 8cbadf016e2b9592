"""Ids -> the messages that ask the engine: limits, names and deadlines, alike in every API."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from service.contract.errors import InvalidRequest
from service.contract.messages import Predict, Score
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.context_words import last_words


class Questions:
    """Makes the messages of one request, one for each of its texts.

    Args:
        ask: the request.
        context: whose limits hold.
        mode: that the request names.
        place: what an error's `param` calls the text with this index.
    """

    def __init__(
        self,
        ask: Call[Any],
        context: Context,
        mode: Literal["exact", "fast"] | None,
        place: Callable[[int], str],
    ) -> None:
        self._context, self._place = context, place
        self._id, self._deadline, self._fast = ask.exchange.id, ask.deadline, context.fast(mode)
        self._end_id = ask.served.bundle.vocabulary.end_id

    def predict(self, texts: Sequence[list[int]], k: int, prefix: str | None) -> list[Predict]:
        """Which words come after each text? Raises InvalidRequest for one of too many words."""
        messages = []
        for index, tokens in enumerate(texts):
            self._context.check_words(len(tokens), self._place(index))
            used = tuple(last_words(tokens, self._context.settings.max_context_words))
            messages.append(
                Predict(f"{self._id}/{index}", used, k, prefix or None, self._deadline, self._fast)
            )
        return messages

    def score(
        self, history: Sequence[int], texts: Sequence[Sequence[int]], end_of_sentence: bool
    ) -> list[Score]:
        """How probable is each text after `history`? Raises InvalidRequest for too many words, or none."""
        messages, before = [], tuple(history)
        for index, tokens in enumerate(texts):
            param = self._place(index)
            self._context.check_words(len(tokens), param)
            targets = (*tokens, self._end_id) if end_of_sentence else tuple(tokens)
            if not targets:
                message = f"{param} has no word to score; an empty text needs end_of_sentence."
                raise InvalidRequest(message, param=param, code="empty")
            messages.append(Score(f"{self._id}/{index}", before, targets, self._deadline, self._fast))
        return messages
