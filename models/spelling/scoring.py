"""From the probability of the unknown word as a class to that of the word that stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.spelling.spelling_model import SpellingModel


def spelled_logprobs(
    logprobs: Sequence[float], unknown: Mapping[int, str], spelling: SpellingModel, unknown_word: str
) -> list[float]:
    """The log-probabilities of a text's words, unknown ones as the words that they are.

    Args:
        logprobs: that of each of the text's words, of the class for unknown ones, in nats.
        unknown: the normalized form of each unknown word, by its place in `logprobs`.
        spelling: what spells them.
        unknown_word: the class's own name. Where it stands in a text itself, as in pretokenized ones, it is
            the class.
    """
    spelled = list(logprobs)
    places = [place for place, word in unknown.items() if word != unknown_word]
    for place, cost in zip(places, spelling.logprob([unknown[place] for place in places]), strict=True):
        spelled[place] += cost
    return spelled
