"""The prompt in the answer: its text, its tokens and their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.text.vocabulary import Token, Vocabulary
from service.contract.messages import Scored
from service.contract.numbers import DIGITS
from service.http.openai.completion import Tokens

_FARTHEST = 16
"""Characters after a token's end within which the next is looked for."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model reads it.

    Args:
        text: as it was sent, or as ids are written.
        started: whether it begins with the start word, which every text has before it anyway.
        tokens: without that word.
    """

    text: str
    started: bool
    tokens: Sequence[Token]

    @property
    def ids(self) -> list[int]:
        """The tokens' ids."""
        return [token.id for token in self.tokens]

    @classmethod
    def of_text(cls, text: str, tokens: Sequence[Token]) -> "Prompt":
        """A prompt that was sent as text."""
        return cls(text, False, tokens)

    @classmethod
    def of_ids(cls, vocabulary: Vocabulary, ids: Sequence[int]) -> "Prompt":
        """A prompt that was sent as ids."""
        started = bool(ids) and ids[0] == vocabulary.start_id
        words = ids[1:] if started else ids
        tokens = [Token(i, vocabulary.word(i)) for i in words]
        return cls(vocabulary.decode(words), started, tokens)


def echo(vocabulary: Vocabulary, prompt: Prompt, scored: Scored | None, top: int) -> Tokens:
    """The prompt's tokens where they stand in its text; `scored` is None for a prompt without any.

    Offsets are of the tokens as they were typed; of one that was normalized (a typographic quote), where it
    is expected.
    """
    tokens = Tokens()
    if prompt.started:
        tokens.words.append(vocabulary.word(vocabulary.start_id))
        tokens.logprobs.append(None)
        tokens.tops.append(None)
        tokens.offsets.append(0)
    end = 0
    for i, token in enumerate(prompt.tokens):
        at = prompt.text.find(token.surface, end, end + len(token.surface) + _FARTHEST)
        start, end = (end, end) if at < 0 else (at, at + len(token.surface))
        tokens.offsets.append(start)
        tokens.words.append(token.surface)
        assert scored is not None  # noqa: S101 -- a prompt with tokens was scored
        logprob = scored.logprobs[i]
        if top:
            ids, logprobs = scored.tops[i]
            best = dict(zip(ids, logprobs, strict=True))
            # The same number in both places, so that a client can see whether the token is the best one.
            logprob = best.get(token.id, logprob)
            others = {
                vocabulary.word(one): round(value, DIGITS) for one, value in best.items() if one != token.id
            }
            tokens.tops.append({token.surface: round(logprob, DIGITS)} | others)
        else:
            tokens.tops.append(None)
        tokens.logprobs.append(round(logprob, DIGITS))
    return tokens
