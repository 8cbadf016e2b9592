"""POST /v1/predict: which words come next?"""

from collections.abc import Iterator, Sequence
from functools import partial
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.responses import Response

from models.text.candidates import Candidates
from models.text.prefixes import Prefix
from models.text.vocabulary import Vocabulary
from service.contract.answers import predict_result, predicted_word
from service.contract.messages import Predict, Predicted
from service.contract.numbers import DIGITS
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.limits import place
from service.http.request.questions import candidates, cost, predictions
from service.http.request.routing import Request, add_model_route
from service.http.schemas.native import PredictAnswer, PredictRequest

PATH = "/v1/predict"


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def predict(request: Request) -> Response:
        call = await Call.read(request, PredictRequest, context)
        body, vocabulary = call.body, call.served.bundle.vocabulary
        context.limits.check_k(body.k)

        def prepare() -> tuple[Candidates, list[Predict]]:
            among = candidates(vocabulary, body, body.pretokenized)
            texts = vocabulary.encode_batch(body.inputs, body.pretokenized)
            place_of = partial(place, single=call.single)
            return among, predictions(call, texts, body.k, among, body.mode, place_of)

        among, messages = await call.work(prepare, cost(body))
        answers = await call.of(messages)
        return await call.answer(pieces(vocabulary, messages, answers, body.explain, among.typed), answers)

    add_model_route(
        app,
        PATH,
        predict,
        request=PredictRequest,
        answer=PredictAnswer,
        example=context.models.first.examples.get(PATH),
        summary="Which words come next?",
    )


class WordsAsJson:
    """A vocabulary's words as JSON objects. The same words are answered over and over: each is escaped once.

    It holds no reference to the vocabulary, whose lifetime bounds its own.
    """

    def __init__(self) -> None:
        self._begun: dict[int, str] = {}

    def join(self, vocabulary: Vocabulary, answer: Predicted) -> str:
        """A `predicted_word` for each word, with commas between them.

        The log-probabilities are finite: an impossible word is not among the answers.
        """
        try:
            return self._join(answer)
        except KeyError:
            for word in set(answer.ids) - self._begun.keys():
                text = to_json(predicted_word(vocabulary.word(word), 0)).decode()
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


WORDS: WeakKeyDictionary[Vocabulary, WordsAsJson] = WeakKeyDictionary()
"""Of each vocabulary that is served."""


def pieces(
    vocabulary: Vocabulary,
    messages: Sequence[Predict],
    answers: Sequence[Predicted],
    explain: bool = False,
    typed: Prefix | None = None,
) -> Iterator[bytes]:
    """The JSON of a whole answer, a piece a text.

    Args:
        messages: what the engine was asked.
        answers: what it answered to each.
        explain: whether results tell which clusters were opened.
        typed: what the words complete; None where no prefix was sent.
    """
    words = WORDS.get(vocabulary) or WORDS.setdefault(vocabulary, WordsAsJson())
    before = '{"results":['
    for message, answer in zip(messages, answers, strict=True):
        tokens = message.tokens
        unknown = tokens.count(vocabulary.unknown_id)
        clusters = answer.clusters if explain else None
        result = to_json(predict_result((), len(tokens), unknown, answer.error, clusters)).decode()
        # The words are escaped already, and come into the empty list: the first one of the result.
        listed = words.join(vocabulary, answer) if typed is None else completed(vocabulary, answer, typed)
        yield f"{before}{result.replace('[]', f'[{listed}]', 1)}".encode()
        before = ","
    yield b"]}"


def completed(vocabulary: Vocabulary, answer: Predicted, typed: Prefix) -> str:
    """A `predicted_word` with its completion for each word, as JSON with commas between them."""
    pairs = zip(map(vocabulary.word, answer.ids), answer.logprobs, strict=True)
    words = [predicted_word(word, round(value, DIGITS), typed.completion(word)) for word, value in pairs]
    return to_json(words).decode()[1:-1]
