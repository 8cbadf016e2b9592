"""SpellingModel: the probability of a word outside the vocabulary, given that it is one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.config.spelling import SpellingConfig
from models.spelling.kneser_ney import KneserNey
from models.spelling.ngrams import Codes, NGrams
from models.spelling.packing import pack, unpack
from models.text.vocabulary import Vocabulary

SPELLING: Final = "spelling.safetensors"
ORDER: Final = 6
MOST_BYTES: Final = 1_000_000
"""The most that `SPELLING` takes on disk."""

_BATCH: Final = 8192


class SpellingModel:
    """p(w) = q(w) / (1 - the sum of q over the vocabulary); 0 for words of the vocabulary.

    q is a distribution over all strings without white space; see `models.spelling.ngrams`. A word is spelled
    in its normalized form, as the vocabulary would have it (`Vocabulary.normalized`). `config` is what
    ``config.json`` says of it.
    """

    def __init__(
        self, ngrams: NGrams, vocabulary: Vocabulary, config: SpellingConfig, tensors: Mapping[str, Codes]
    ) -> None:
        """`tensors`: `ngrams` as they are written. See `train`, `over` and `load`."""
        self.ngrams, self.config = ngrams, config
        self._vocabulary, self._tensors = vocabulary, tensors

    @classmethod
    def train(
        cls, counts: Mapping[str, int], vocabulary: Vocabulary, order: int = ORDER, size: int = MOST_BYTES
    ) -> Self:
        """Learn from the words that a text has and `vocabulary` lacks, and how often each came.

        The vocabulary's own words count once each beside them: unknown words are made of the same parts.
        What the model takes on disk stays under `size` bytes.

        Raises:
            ValueError: there is no such word, one has white space, or their characters alone take more.
        """
        unknown = {word: count for word, count in counts.items() if word not in vocabulary}
        if not unknown:
            raise ValueError("the text has no word that the vocabulary lacks")
        counted = KneserNey(dict.fromkeys(_spelled_words(vocabulary), 1) | unknown, order)
        kept = len(counted)
        while True:
            ngrams = counted.pruned(kept)
            tensors = pack(ngrams)
            written = len(save(tensors))
            if written <= size:
                return cls.over(ngrams, vocabulary, tensors)
            if len(ngrams) > kept:
                raise ValueError(f"{len(ngrams.alphabet)} distinct characters take more than {size:,} bytes")
            kept = int(kept * min(0.99, size / written))

    @classmethod
    def over(cls, ngrams: NGrams, vocabulary: Vocabulary, tensors: Mapping[str, Codes] | None = None) -> Self:
        """`ngrams` over all words but those of `vocabulary`, whose probability is summed up.

        `tensors`: what `pack` made of them, where that is known.
        """
        words = [vocabulary.word(i) for i in range(len(vocabulary))]
        batches = (words[at : at + _BATCH] for at in range(0, len(words), _BATCH))
        taken = sum(float(np.exp(ngrams.logprob(batch)).sum()) for batch in batches)
        tensors = pack(ngrams) if tensors is None else tensors
        config = SpellingConfig(
            order=ngrams.order, log_share=float(np.log1p(-taken)), digest=_digest(vocabulary, tensors)
        )
        return cls(ngrams, vocabulary, config, tensors)

    def logprob(self, words: Sequence[str]) -> list[float]:
        """The natural logarithm of each word's probability, given that it is outside the vocabulary.

        -inf for words of the vocabulary, and for what is no word: white space, lone surrogates, nothing.
        """
        found = self.ngrams.logprob(words) - self.config.log_share
        found[[word in self._vocabulary for word in words]] = -np.inf
        listed: list[float] = found.tolist()
        return listed

    def save(self, directory: Path) -> None:
        """Write ``spelling.safetensors``, in one step: an earlier one is replaced as a whole."""
        unfinished = directory / (SPELLING + ".tmp")
        with unfinished.open("wb") as file:
            file.write(save(dict(self._tensors)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(directory / SPELLING)

    @classmethod
    def load(cls, directory: Path, config: SpellingConfig, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote into `directory`.

        Raises:
            ValueError: one line on what is wrong with it.
        """
        file = directory / SPELLING
        try:
            if file.stat().st_size > 2 * MOST_BYTES:
                raise ValueError("is larger than a spelling model may be")
            tensors = load(file.read_bytes())
            ngrams = unpack(tensors, config.order)
        except (OSError, SafetensorError, ValueError) as error:
            raise ValueError(f"{file}: {error}") from None
        if _digest(vocabulary, tensors) != config.digest:
            raise ValueError(f"{file}: was made for another vocabulary, or is not the file that was made")
        return cls(ngrams, vocabulary, config, tensors)


def _spelled_words(vocabulary: Vocabulary) -> list[str]:
    """The words of a vocabulary that text can have: not the special ones, none with white space."""
    hidden = vocabulary.special_ids | {vocabulary.end_id}
    words = (vocabulary.word(i) for i in range(len(vocabulary)) if i not in hidden)
    return [word for word in words if word.split() == [word]]


def _digest(vocabulary: Vocabulary, tensors: Mapping[str, Codes]) -> str:
    digest = hashlib.sha256()
    for i in range(len(vocabulary)):
        digest.update(vocabulary.word(i).encode() + b"\n")
    for name in sorted(tensors):
        digest.update(f"{name} {len(tensors[name])}\n".encode() + tensors[name].tobytes())
    return digest.hexdigest()
