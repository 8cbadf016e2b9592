"""One completion as it grows: what is asked of the engine next, and what its answers make of the text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.text.vocabulary import Vocabulary
from service.contract.messages import Predict, Predicted, Sampling
from service.contract.numbers import DIGITS
from service.http.request.questions import last_words

_CHOICE_BITS = 32
"""Steps of one choice have numbers below 2 ** this."""


@dataclass(frozen=True, slots=True)
class Options:
    """What all choices of a request have in common; see `CompletionRequest`.

    `top` None asks for no log-probabilities. `context_words` is how much of the text a step uses.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    top: int | None
    stops: tuple[str, ...]
    bias: tuple[tuple[int, float], ...]
    frequency_penalty: float
    presence_penalty: float
    context_words: int


@dataclass(slots=True)
class Tokens:
    """Tokens as text, with their log-probabilities where they were asked for."""

    words: list[str] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    tops: list[dict[str, float] | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


class GrowingCompletion:
    """One choice.

    Args:
        vocabulary: of the model.
        prompt: its ids, without a start word.
        offset: where the generated text begins, in characters of the answer's `text`.
        text: the prompt's, which the generated text goes on with.
        number: which of the request's choices it is; each has random numbers of its own.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: Sequence[int],
        options: Options,
        *,
        offset: int,
        text: str,
        number: int,
    ) -> None:
        self.vocabulary, self.options = vocabulary, options
        self.ids = list(prompt)
        self.text = ""
        """What was generated, up to a stop string."""
        self.tokens = Tokens()
        self.finish: Literal["stop", "length"] | None = None if options.max_tokens else "length"
        self.generated = 0
        self.logprob = 0.0
        self._prompt_words = len(self.ids)
        self._offset, self._number = offset, number
        self._joiner = vocabulary.joiner(text, self.ids)
        self._counts: Counter[int] = Counter()
        self._sent = 0

    def ask(self, request_id: str, deadline: float) -> Predict:
        """What the engine is to do for the next word."""
        options = self.options
        sampling = Sampling(
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            step=(self._number << _CHOICE_BITS) + self.generated,
            bias=self._bias(),
        )
        tokens = tuple(last_words(self.ids, options.context_words))
        return Predict(request_id, tokens, options.top or 0, None, deadline, sampling=sampling)

    def accept(self, answer: Predicted) -> None:
        """Goes on with the word that was drawn, or ends."""
        assert answer.drawn is not None  # noqa: S101 -- `ask` asked for it
        word, logprob = answer.drawn
        self.generated += 1
        self.logprob += logprob
        piece = self.piece(word)
        self._note(piece, word, logprob, answer)
        if word == self.vocabulary.end_id:  # Among the tokens, as clients that count expect, not in the text.
            self.finish = "stop"
            return
        self.ids.append(word)
        self._counts[word] += 1
        self.text += self._joiner.add(self.vocabulary.word(word))
        self._stop()
        if self.finish is None and self.generated == self.options.max_tokens:
            self.finish = "length"

    def piece(self, word: int) -> str:
        """What a word would add to the text."""
        if word == self.vocabulary.end_id:
            return self.vocabulary.word(word)
        return self._joiner.piece(self.vocabulary.word(word))

    def take(self) -> str:
        """The text that was not taken before and that no stop string can take back any more."""
        end = len(self.text) if self.finish is not None else len(self.text) - self._held()
        start, self._sent = self._sent, max(self._sent, end)
        return self.text[start : self._sent]

    @property
    def mean_logprob(self) -> float:
        """A token, the end of sentence among them: what `best_of` compares."""
        return self.logprob / max(1, self.generated)

    def _note(self, piece: str, word: int, logprob: float, answer: Predicted) -> None:
        if self.options.top is None:
            return
        # The same number in both places, so that a client can see whether the word is the best one.
        value = round(dict(zip(answer.ids, answer.logprobs, strict=True)).get(word, logprob), DIGITS)
        self.tokens.words.append(piece)
        self.tokens.logprobs.append(value)
        self.tokens.offsets.append(self._offset + len(self.text))
        best = {
            self.piece(one): round(other, DIGITS)
            for one, other in zip(answer.ids, answer.logprobs, strict=True)
            if one != word
        }
        self.tokens.tops.append({piece: value} | best if self.options.top else None)

    def _bias(self) -> tuple[tuple[int, float], ...]:
        options = self.options
        if not self._counts or not (options.frequency_penalty or options.presence_penalty):
            return options.bias
        bias = dict(options.bias)
        for word, count in self._counts.items():
            penalty = options.frequency_penalty * count + options.presence_penalty
            bias[word] = bias.get(word, 0.0) - penalty
        return tuple(bias.items())

    def _stop(self) -> None:
        found = [at for stop in self.options.stops if (at := self.text.find(stop)) >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.finish = "stop"
            end = self._offset + len(self.text)
            while self.tokens.offsets and self.tokens.offsets[-1] >= end:
                for part in (self.tokens.words, self.tokens.logprobs, self.tokens.tops, self.tokens.offsets):
                    part.pop()

    def _held(self) -> int:
        """Characters at the end that may turn out to be the beginning of a stop string."""
        return max(
            (
                size
                for stop in self.options.stops
                for size in range(1, min(len(stop), len(self.text) + 1))
                if self.text.endswith(stop[:size])
            ),
            default=0,
        )
