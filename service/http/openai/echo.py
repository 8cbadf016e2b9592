"""The prompt in the answer: its text, its tokens and their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.text.vocabulary import Token, Vocabulary
from service.contract.messages import Scored
from service.contract.numbers import DIGITS
from service.http.openai.completion import Tokens
from service.scoring.unknown_words import UnknownWords


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
        joiner = vocabulary.joiner("", ())
        text, tokens = "", []
        for i in words:
            word = vocabulary.word(i)
            piece = "" if i == vocabulary.end_id else joiner.add(word)  # It ends a sentence unseen.
            surface = piece.lstrip(" ")
            text += piece
            tokens.append(Token(i, surface, len(text) - len(surface), len(text), word))
        return cls(text, started, tokens)


def echo(
    vocabulary: Vocabulary, prompt: Prompt, scored: Scored | None, top: int, unknown: UnknownWords
) -> Tokens:
    """The prompt's tokens, each with the white space before it, the last also with what follows it: put
    together they are the prompt's text. `scored` is None for a prompt without any; `unknown` says what words
    outside the vocabulary cost."""
    tokens = Tokens()
    if prompt.started:
        tokens.words.append(vocabulary.word(vocabulary.start_id))
        tokens.logprobs.append(None)
        tokens.tops.append(None)
        tokens.offsets.append(0)
    text = prompt.text
    costs = [] if scored is None else unknown.logprobs(prompt.tokens, scored.logprobs)
    ends = [*(token.end for token in prompt.tokens[:-1]), len(text)]
    for i, (token, start, end) in enumerate(zip(prompt.tokens, [0, *ends], ends, strict=False)):
        typed = text[start:end]
        tokens.offsets.append(start)
        tokens.words.append(typed)
        assert scored is not None  # noqa: S101 -- a prompt with tokens was scored
        logprob = costs[i]
        if top:
            ids, logprobs = scored.tops[i]
            best = dict(zip(ids, logprobs, strict=True))
            # The same number in both places, so that a client can see whether the token is the best one.
            if token.id != unknown.id:
                logprob = best.get(token.id, logprob)
            before = text[start : token.start]
            others = {
                before + vocabulary.word(one): round(value, DIGITS)
                for one, value in best.items()
                if one != token.id
            }
            tokens.tops.append(others | {typed: round(logprob, DIGITS)})
        else:
            tokens.tops.append(None)
        tokens.logprobs.append(round(logprob, DIGITS))
    return tokens
