"""Ids -> the messages that ask the engine: limits, names and deadlines, alike in every API."""

from collections.abc import Callable, Sequence
from typing import Literal

from service.contract.messages import Predict
from service.http.request.call import Call, R

Mode = Literal["exact", "fast"] | None
"""As a request names it; None leaves it to the server."""

Place = Callable[[int], str]
"""What an error's `param` calls the text with this index."""


WORD_BYTES = 40
"""About as much does a word with its log-probability take in an answer."""


def last_words(tokens: list[int], limit: int) -> list[int]:
    """The tokens that a prediction uses: the last `limit` at most, at least half of it if there are so many.

    The start moves in steps of half the limit, so that the text of a typing client keeps its start, and with
    it the cached state of its earlier words, for as many words.
    """
    if len(tokens) <= limit:
        return tokens
    step = limit // 2
    return tokens[-(-(len(tokens) - limit) // step) * step :]


def predictions(
    call: Call[R],
    texts: Sequence[list[int]],
    k: int,
    prefix: str | None,
    mode: Mode,
    place: Place,
    k_param: str = "k",
) -> list[Predict]:
    """Which words come after each text? Raises InvalidRequest for one of too many words, or an answer of too
    many bytes."""
    settings, limits = call.context.settings, call.context.limits
    words = len(texts) * min(k, len(call.served.bundle.vocabulary))
    limits.check_answer(words * WORD_BYTES, k_param)
    fast = (mode or settings.mode) == "fast"
    messages = []
    for index, tokens in enumerate(texts):
        if len(tokens) > limits.words:
            raise limits.too_many_words(place(index))
        used = tuple(last_words(tokens, settings.max_context_words))
        messages.append(Predict(f"{call.exchange.id}/{index}", used, k, prefix or None, call.deadline, fast))
    return messages
