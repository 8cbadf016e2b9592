"""What a prediction's words look like in an answer."""

from pydantic_core import to_json

from models.text.vocabulary import Vocabulary
from service.contract.answers import predicted_word
from service.contract.messages import Predicted
from service.contract.numbers import DIGITS


class WordsAsJson:
    """Predicted words as JSON objects. The same words are answered again and again: each is escaped once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.unknown_id = vocabulary.unknown_id
        self._vocabulary = vocabulary
        self._begun: dict[int, str] = {}

    def pairs(self, answer: Predicted) -> str:
        """`{"word": ..., "logprob": ...}` of each word, without brackets around them all.

        The log-probabilities are finite: what the model holds for impossible is not among its answers.
        """
        try:
            return self._join(answer)
        except KeyError:
            for word in set(answer.ids) - self._begun.keys():
                text = to_json(predicted_word(self._vocabulary.word(word), 0)).decode()
                self._begun[word] = text.removesuffix("0}")
            return self._join(answer)

    def _join(self, answer: Predicted) -> str:
        begun = self._begun
        return ",".join(
            [
                f"{begun[word]}{round(logprob, DIGITS)}}}"
                for word, logprob in zip(answer.ids, answer.logprobs, strict=True)
            ]
        )
