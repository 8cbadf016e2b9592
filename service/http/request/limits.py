"""How much a request may ask for: the server's limits, and the errors of those that ask for more."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.contract.errors import InvalidRequest
from service.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each; each `check_...` raises InvalidRequest for more than that.

    Args:
        inputs: texts of a request.
        chars: of a text.
        words: of a text.
        k: words of an answer.
    """

    inputs: int
    chars: int
    words: int
    k: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those that are set."""
        return cls(settings.max_inputs, settings.max_input_chars, settings.max_input_words, settings.max_k)

    def check_inputs(self, inputs: Sequence[str], single: bool) -> None:
        """No input, too many of them, or one of too many characters."""
        if not inputs:
            raise InvalidRequest("inputs must not be empty.", param="inputs", code="empty")
        if len(inputs) > self.inputs:
            message = f"inputs must be at most {self.inputs} texts."
            raise InvalidRequest(message, param="inputs", code="too_many_inputs")
        for index, text in enumerate(inputs):
            if len(text) > self.chars:
                self.check_chars(text, place(index, single))

    def check_chars(self, text: str, param: str) -> None:
        """A text of too many characters."""
        if len(text) > self.chars:
            message = f"{param} must have at most {self.chars} characters."
            raise InvalidRequest(message, param=param, code="too_many_characters")

    def check_words(self, count: int, param: str) -> None:
        """A text of too many words."""
        if count > self.words:
            raise self.too_many_words(param)

    def too_many_words(self, param: str) -> InvalidRequest:
        """The error for a text of more than `words` words."""
        message = f"{param} must have at most {self.words} words."
        return InvalidRequest(message, param=param, code="too_many_words")

    def check_k(self, k: int, param: str = "k") -> None:
        """More words than may be asked for."""
        if k > self.k:
            raise InvalidRequest(f"k must be at most {self.k}.", param=param)


def place(index: int, single: bool) -> str:
    """What `param` calls an input: `inputs[3]`, or `inputs` where it was a single string."""
    return "inputs" if single else f"inputs[{index}]"
