"""Slow, plain n-grams to compare with: dictionaries of strings, one character after the other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

from models.spelling.alphabet import START
from models.spelling.ngrams import STEPS_A_BIT, NGrams

Symbol = str
BEGIN, STOP, OTHER = "<", ">", "?"  # none of them a character of the tests' words


def shares_of(ngrams: NGrams) -> dict[tuple[Symbol, ...], float]:
    """The share of every stored n-gram, by its characters."""
    symbols = [BEGIN, STOP, *ngrams.alphabet.characters]
    shares: dict[tuple[Symbol, ...], float] = {}
    strings: list[tuple[Symbol, ...]] = [()]
    for level in ngrams.levels:
        longer = []
        for key, code in zip(level.keys.tolist(), level.codes.tolist(), strict=True):
            history, character = divmod(key, len(symbols))
            longer.append((*strings[history], symbols[character]))
            shares[longer[-1]] = 2.0 ** (-(code - 1) / STEPS_A_BIT) if code else 0.0
        strings = longer
    assert shares[(symbols[START],)] == 0
    return shares


def conditional(
    shares: Mapping[tuple[Symbol, ...], float], history: tuple[Symbol, ...], order: int
) -> dict[Symbol, float]:
    """p(. | history), characters outside the alphabet as `OTHER`."""
    symbols = [string[0] for string in shares if len(string) == 1 and string[0] != BEGIN]
    if not history:
        own = {symbol: shares[(symbol,)] for symbol in symbols}
        return {**own, OTHER: 1 - sum(own.values())}
    history = history[-(order - 1) :] if order > 1 else ()
    if not history:
        return conditional(shares, (), order)
    shorter = conditional(shares, history[1:], order)
    if history not in shares:
        return shorter
    own = {symbol: shares.get((*history, symbol), 0.0) for symbol in shorter}
    left = 1 - sum(own.values())
    return {symbol: own[symbol] + left * shorter[symbol] for symbol in shorter}


def kneser_ney(words: Mapping[str, int], order: int) -> dict[tuple[Symbol, ...], float]:
    """The shares of interpolated modified Kneser-Ney, as Chen and Goodman write it."""
    raw: Counter[tuple[Symbol, ...]] = Counter()
    before: defaultdict[tuple[Symbol, ...], set[Symbol]] = defaultdict(set)
    for word, count in words.items():
        text = (BEGIN, *word, STOP)
        for n in range(1, order + 1):
            for at in range(len(text) - n + 1):
                string = text[at : at + n]
                raw[string] += count
                if at and n < order:
                    before[string].add(text[at - 1])
    counts = {string: len(before[string]) or count for string, count in raw.items()}
    counts[(BEGIN,)] = 0
    shares = {}
    for n in range(1, order + 1):
        level = {string: count for string, count in counts.items() if len(string) == n}
        times = Counter(level.values())
        discounts = [0.0, 0.5, 0.75, 0.75]
        if all(times[i] for i in (1, 2, 3, 4)):
            y = times[1] / (times[1] + 2 * times[2])
            bounds = {1: 0.95, 2: 1.9, 3: 2.8}
            for i, most in bounds.items():
                discounts[i] = min(max(i - (i + 1) * y * times[i + 1] / times[i], 0.1), most)
        totals: Counter[tuple[Symbol, ...]] = Counter()
        for string, count in level.items():
            totals[string[:-1]] += count
        for string, count in level.items():
            total = totals[string[:-1]]
            shares[string] = (count - discounts[min(count, 3)]) / total if total else 0.0
    return shares


def word_probability(shares: Mapping[tuple[Symbol, ...], float], word: str, order: int) -> float:
    """That of a word whose characters are all in the alphabet, before the empty word is taken out."""
    probability, text = 1.0, (BEGIN, *word, STOP)
    for at, (_, symbol) in enumerate(pairwise(text), 1):
        probability *= conditional(shares, text[:at], order)[symbol]
    return probability
