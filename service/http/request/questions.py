"""Ids -> the messages that ask the engine: limits, names and deadlines, alike in every API."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from models.text.candidates import ANY, Candidates
from models.text.vocabulary import Vocabulary
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


class Narrowing(Protocol):
    """What a request says of the words that may be answered; see `PredictRequest`."""

    @property
    def prefix(self) -> str | None:
        """What is typed since the last space."""

    @property
    def ignore_case(self) -> bool:
        """Whether words may begin with it in another case."""

    @property
    def words_only(self) -> bool:
        """Whether they must have a letter or digit."""

    @property
    def exclude(self) -> list[str]:
        """Those that are not answered."""


def cost(asked: Narrowing) -> int:
    """What `candidates` takes, in words of an answer: excluded words are looked up one by one, and each token
    of a prefix with all that follows it."""
    return 32 * len(asked.exclude) + len(asked.prefix or "") ** 2 // 4


def candidates(vocabulary: Vocabulary, asked: Narrowing, pretokenized: bool = False) -> Candidates:
    """Which words may be answered."""
    if not (asked.prefix or asked.words_only or asked.exclude):
        return ANY
    return Candidates.of(
        vocabulary, asked.prefix, asked.ignore_case, asked.words_only, asked.exclude, pretokenized
    )


def predictions(
    call: Call[R],
    texts: Sequence[list[int]],
    k: int,
    among: Candidates,
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
        used = tuple(last_words([*tokens, *among.before], settings.max_context_words))
        messages.append(
            Predict(
                f"{call.exchange.id}/{index}",
                used,
                k,
                among.prefix,
                call.deadline,
                fast,
                ignore_case=among.ignore_case,
                words_only=among.words_only,
                exclude=among.exclude,
            )
        )
    return messages
