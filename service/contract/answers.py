"""The results of /v1/predict and /v1/score: their shape, and the functions that fill it.

HTTP, the command line and bulk jobs all make a result here, so that a field has one name, one place in the
order and one rule for when it is absent. The models describe the fields, for OpenAPI and the Python client;
the functions make plain dicts, which are several times as fast to make and to write as the models.
"""

from collections.abc import Sequence
from typing import Any

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
    """A part of the input and its probability: a token; with `group` or `regions` a word or region of several
    tokens."""

    word: str = Field(description="The slice of the text as it was sent; `</s>` is the end of the sentence.")
    start: int = Field(description="Where it begins in the text, in code points from 0.")
    end: int = Field(description="Where it ends; for `</s>` the same place, which is the text's length.")
    logprob: float | None = Field(
        description="Natural logarithm; null where the model holds it for impossible."
    )
    known: bool = Field(
        description="False where the vocabulary lacks it, or one of its tokens; see `unknown` on its logprob."
    )
    token: str | None = Field(
        None, description="The model's own form, where it differs from `word`. Absent for several tokens."
    )
    tokens: int | None = Field(None, description="With `group` or `regions`: how many tokens it has.")
    unknown_words: int | None = Field(
        None, description="With `group` or `regions`: the unknown ones of them."
    )


class ScoredLine(BaseModel):
    """How probable one line of an input is, as a sentence of its own."""

    logprob: float | None
    word_count: int
    unknown_words: int
    perplexity: float | None


class ScoreResult(BaseModel):
    """How probable one input is."""

    logprob: float | None = Field(description="Sum of the words' log-probabilities.")
    perplexity: float | None = Field(
        description="exp(-logprob / word_count); null where too large for a double."
    )
    known_perplexity: float | None = Field(
        description="The same over the words that the vocabulary has; null where there are none."
    )
    word_count: int = Field(description="Scored tokens, `</s>` among them if asked for.")
    unknown_words: int = Field(description="How many of them the vocabulary lacks.")
    logprob_error: float | None = Field(None, description=_LOGPROB_ERROR + " Their sum: so much a word.")
    lines: list[ScoredLine] | None = Field(
        None, description="With `lines`: an entry for each line that has words."
    )
    words: list[ScoredWord] = Field(default=[], description="Absent if `per_word` is false.")


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


def scored_word(word: str, start: int, end: int, logprob: float, known: bool, token: str) -> dict[str, Any]:
    """A `ScoredWord` of one token, whose form in the vocabulary is `token`. `logprob` is rounded."""
    result = {"word": word, "start": start, "end": end, "logprob": logprob, "known": known}
    return result if token == word else result | {"token": token}


def scored_group(
    word: str, start: int, end: int, logprob: float, tokens: int, unknown_words: int
) -> dict[str, Any]:
    """A `ScoredWord` of so many tokens. `logprob` is rounded."""
    return {
        "word": word,
        "start": start,
        "end": end,
        "logprob": logprob,
        "known": not unknown_words,
        "tokens": tokens,
        "unknown_words": unknown_words,
    }


def line_result(logprob: float, word_count: int, unknown_words: int) -> dict[str, Any]:
    """A `ScoredLine`. `logprob` is rounded."""
    return {
        "logprob": logprob,
        "word_count": word_count,
        "unknown_words": unknown_words,
        "perplexity": perplexity(logprob, word_count),
    }


def score_result(
    *,
    logprob: float,
    known_logprob: float,
    word_count: int,
    unknown_words: int,
    error: float = 0.0,
    lines: Sequence[dict[str, Any]] | None = None,
    words: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A `ScoreResult`. Its last field is `words`.

    Args:
        logprob: of the whole text, rounded.
        known_logprob: of its known words, rounded.
        error: as in `Scored`.
        lines: each a `line_result`; None leaves the field out.
        words: each a `scored_word` or a `scored_group`; None leaves the field out.
    """
    result: dict[str, Any] = {
        "logprob": logprob,
        "perplexity": perplexity(logprob, word_count),
        "known_perplexity": perplexity(known_logprob, word_count - unknown_words),
        "word_count": word_count,
        "unknown_words": unknown_words,
        **logprob_error(error),
    }
    if lines is not None:
        result["lines"] = lines
    return result if words is None else result | {"words": words}
