"""What a word outside the vocabulary costs: its spelling, or the class of all such words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.bundle import Bundle
from models.spelling.scoring import spelled_logprobs
from models.spelling.spelling_model import SpellingModel
from models.text.vocabulary import Token
from service.contract.errors import InvalidRequest

Unknown = Literal["spelled", "class"]


@dataclass(frozen=True, slots=True)
class UnknownWords:
    """The cost of unknown words.

    Args:
        id: of the class in the vocabulary.
        name: of the class, as a pretokenized text may have it.
        spelling: what spells them; None where a word costs its class and the penalty.
        penalty: in nats, subtracted from the class's log-probability.
    """

    id: int
    name: str
    spelling: SpellingModel | None = None
    penalty: float = 0.0

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        how: Unknown | None,
        penalty: float | None,
        default: Unknown = "spelled",
        default_penalty: float = 0.0,
        prefix: str = "",
    ) -> UnknownWords:
        """What is asked for, or else the default; words are spelled by default where `bundle` can do that.

        A penalty without `how` means the class, which is what it is subtracted from. `prefix` stands before
        the names of the two fields in errors.

        Raises:
            InvalidRequest: words are to be spelled and the bundle has no spelling model, or there is a
                penalty for spelled words, or it is negative.
        """
        if penalty is not None and how == "spelled":
            message = "A penalty is subtracted from the class: it does not go with spelled words."
            raise InvalidRequest(message, param=f"{prefix}unknown_penalty")
        if how == "spelled" and bundle.spelling is None:
            message = "This model has no spelling model: its unknown words have the class's probability."
            raise InvalidRequest(message, param=f"{prefix}unknown", code="unsupported")
        if how is None:
            how = "class" if penalty is not None or bundle.spelling is None else default
        vocabulary = bundle.vocabulary
        unknown_id, name = vocabulary.unknown_id, vocabulary.word(vocabulary.unknown_id)
        if how == "spelled":
            return cls(unknown_id, name, spelling=bundle.spelling)
        return cls(unknown_id, name, penalty=default_penalty if penalty is None else penalty)

    def logprobs(self, tokens: Sequence[Token], logprobs: Sequence[float]) -> list[float]:
        """`logprobs` of `tokens`, in which unknown ones have that of their class, with their own cost."""
        unknown = {place: token.word for place, token in enumerate(tokens) if token.id == self.id}
        if unknown and self.spelling is not None:
            return spelled_logprobs(logprobs, unknown, self.spelling, self.name)
        return [value - self.penalty * (place in unknown) for place, value in enumerate(logprobs)]
