"""The numbers of an answer: how log-probabilities are rounded, and what follows from them."""

import math
from collections.abc import Sequence
from typing import Final

DIGITS: Final = 6
"""To which log-probabilities and perplexities are rounded, in every answer."""


def rounded(logprobs: Sequence[float]) -> tuple[list[float], float]:
    """Log-probabilities as answers have them, and their sum: the sum of what a client sees."""
    values = [round(logprob, DIGITS) for logprob in logprobs]
    return values, round(math.fsum(values), DIGITS)


def logprob_error(error: float) -> dict[str, float]:
    """The field that tells by how much logarithms may be off; no field for exact ones.

    Rounded up, with room for the rounding of the logarithms themselves.
    """
    return {"logprob_error": math.ceil(error * 10**DIGITS + 1) / 10**DIGITS} if error else {}


def perplexity(logprob: float, words: int) -> float:
    """exp(-logprob / words); infinite where it exceeds a double, NaN for no words."""
    if not words:
        return math.nan
    try:
        return round(math.exp(-logprob / words), DIGITS)
    except OverflowError:
        return math.inf


def log_sum_exp(logprobs: Sequence[float]) -> float:
    """The log-probability of one or the other of several words, of which one can be at a time."""
    largest = max(logprobs)
    if len(logprobs) == 1 or largest == -math.inf:
        return largest
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logprobs))
