"""How much a request may ask for: the server's limits, and the errors of those that ask for more."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.contract.errors import InvalidRequest, TooManyBytes
from service.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each; each `check_...` raises InvalidRequest for more than that.

    Args:
        inputs: texts of a request.
        chars: of a text.
        words: of a text.
        k: words of an answer.
        answer_bytes: of an answer.
    """

    inputs: int
    chars: int
    words: int
    k: int
    answer_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those that are set."""
        return cls(
            inputs=settings.max_inputs,
            chars=settings.max_input_chars,
            words=settings.max_input_words,
            k=settings.max_k,
            answer_bytes=settings.max_answer_bytes,
        )

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

    def check_answer(self, size: int, param: str) -> None:
        """An answer of about `size` bytes, where that is more than there may be; `param` is what makes it so
        large."""
        if size > self.answer_bytes:
            message = f"{param} asks for an answer of more than {self.answer_bytes} bytes."
            raise InvalidRequest(message, param=param, code="answer_too_large")

    def check_k(self, k: int, param: str = "k") -> None:
        """More words than may be asked for."""
        if k > self.k:
            raise InvalidRequest(f"k must be at most {self.k}.", param=param)


class BodyBudget:
    """Bytes of bodies that are not complete yet, of all connections together. Used on the event loop.

    Args:
        most: so many may be held.

    Attributes:
        held: how many are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def hold(self, size: int) -> None:
        """Counts so many bytes more. Raises TooManyBytes if there is no room for them."""
        if self.held + size > self.most:
            raise TooManyBytes
        self.held += size

    def release(self, size: int) -> None:
        """So many are complete, or were given up."""
        self.held -= size


def place(index: int, single: bool) -> str:
    """What `param` calls an input: `inputs[3]`, or `inputs` where it was a single string."""
    return "inputs" if single else f"inputs[{index}]"
