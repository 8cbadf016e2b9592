"""The results of /v1/predict and /v1/score: their shape, and the functions that fill it.

HTTP, the command line and bulk jobs all make a result here, so that a field has one name, one place in the
order and one rule for when it is absent. The models describe the fields, for OpenAPI and the Python client;
the functions make plain dicts, which are several times as fast to make and to write as the models.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, Field

from service.contract.numbers import logprob_error, perplexity

_LOGPROB_ERROR = (
    "The most by which a word's logprob may be off, in nats, where the fast mode answered; absent where the "
    "answer is exact."
)


class PredictedWord(BaseModel):
    """A word that may come next."""

    word: str
    logprob: float = Field(description="Natural logarithm of its probability.")
    completion: str | None = Field(
        None, description="The whole text that replaces the prefix; absent where none was sent."
    )


class Explanation(BaseModel):
    """How the words were found."""

    clusters: list[int] = Field(description="The tail clusters that were opened, numbered from 0, ascending.")


class PredictResult(BaseModel):
    """The words that may follow one input, best first."""

    words: list[PredictedWord] = Field(
        description="At most k words; fewer where the vocabulary has fewer that may be answered."
    )
    context_words: int = Field(
        description="How many of the last words of input and prefix the model used, the completed one aside."
    )
    unknown_words: int = Field(description="How many of those are not in its vocabulary.")
    explain: Explanation | None = Field(None, description="Absent unless `explain` is asked for.")
    logprob_error: float | None = Field(None, description=_LOGPROB_ERROR)


class ScoredWord(BaseModel):
    """A word of the input and its probability."""

    word: str = Field(description="As it was typed; `</s>` is the end of the sentence.")
    logprob: float | None = Field(
        description="Natural logarithm; null where the model holds it for impossible."
    )
    known: bool = Field(
        description="False where the vocabulary lacks it; its logprob is then that of `<unk>`."
    )


class ScoreResult(BaseModel):
    """How probable one input is."""

    logprob: float | None = Field(description="Sum of the words' log-probabilities.")
    perplexity: float | None = Field(
        description="exp(-logprob / word_count); null where too large for a double."
    )
    word_count: int = Field(description="Scored words, `</s>` among them if asked for.")
    unknown_words: int
    logprob_error: float | None = Field(None, description=_LOGPROB_ERROR + " Their sum: so much a word.")
    words: list[ScoredWord] = Field(default=[], description="Absent if `per_word` is false.")


class Word(Protocol):
    """A token of a text, as `models.text.vocabulary.Token` is one."""

    @property
    def id(self) -> int:
        """Its id; that of `<unk>` where the vocabulary lacks it."""

    @property
    def surface(self) -> str:
        """As it was typed."""


def predicted_word(word: str, logprob: float, completion: str | None = None) -> dict[str, Any]:
    """A `PredictedWord`. `logprob` is rounded (`service.contract.numbers`)."""
    result: dict[str, Any] = {"word": word, "logprob": logprob}
    return result if completion is None else result | {"completion": completion}


def predict_result(
    words: Sequence[dict[str, Any]],
    context_words: int,
    unknown_words: int,
    error: float = 0.0,
    clusters: Sequence[int] | None = None,
) -> dict[str, Any]:
    """A `PredictResult`. Its first field is `words`.

    Args:
        words: each a `predicted_word`.
        error: as in `Predicted`.
        clusters: opened ones; None where the request asks for no explanation.
    """
    result = {"words": words, "context_words": context_words, "unknown_words": unknown_words}
    if clusters is not None:
        result["explain"] = {"clusters": clusters}
    return result | logprob_error(error) if error else result


def scored_words(words: Iterable[Word], logprobs: Iterable[float], unknown_id: int) -> list[dict[str, Any]]:
    """`ScoredWord`s: each word with its rounded log-probability."""
    return [
        {"word": word.surface, "logprob": logprob, "known": word.id != unknown_id}
        for word, logprob in zip(words, logprobs, strict=True)
    ]


def score_result(
    logprob: float,
    word_count: int,
    unknown_words: int,
    error: float = 0.0,
    words: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A `ScoreResult`. Its last field is `words`.

    Args:
        logprob: of the whole text, rounded.
        error: as in `Scored`.
        words: `scored_words`; None leaves the field out.
    """
    result = {
        "logprob": logprob,
        "perplexity": perplexity(logprob, word_count),
        "word_count": word_count,
        "unknown_words": unknown_words,
        **logprob_error(error),
    }
    return result if words is None else result | {"words": words}
