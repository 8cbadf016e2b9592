"""POST /v1/predict: which words come next?"""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from models.bundle import Bundle
from service.contract.answers import predict_result
from service.contract.messages import Predict, Predicted
from service.http.api.examples import predicted
from service.http.api.words_as_json import WordsAsJson
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.parsing import place
from service.http.request.questions import Questions
from service.http.request.routing import add_model_route
from service.http.schemas.native import PredictAnswer, PredictRequest

PATH = "/v1/predict"


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def predict(request: Request) -> Response:
        ask = await Call.read(request, PredictRequest, context)
        body, vocabulary = ask.body, ask.served.bundle.vocabulary
        context.check_k(body.k, "k")
        questions = Questions(ask, context, body.mode, lambda index: place(index, ask.single))

        def prepare() -> list[Predict]:
            texts = vocabulary.encode_batch(body.inputs, body.pretokenized)
            return questions.predict(texts, body.k, body.prefix)

        messages = await ask.work(prepare)
        answers = await ask.of(messages)
        words = sum(len(answer.ids) for answer in answers)
        contexts = [message.tokens for message in messages]
        pieces = _pieces(ask.served.words, contexts, answers, explain=ask.body.explain)
        return await ask.answer(pieces, words, answers)

    add_model_route(
        app,
        PATH,
        predict,
        request=PredictRequest,
        answer=PredictAnswer,
        example=context.models.first.examples.get(PATH),
        summary="Which words come next?",
    )


def example(bundle: Bundle) -> dict[str, Any]:
    """What the model answers to the first example of a request."""
    request = PredictRequest.model_validate(PredictRequest.EXAMPLES[0])
    contexts = bundle.vocabulary.encode_batch(request.inputs)
    answers = [predicted(bundle, tokens, request.k) for tokens in contexts]
    answer: dict[str, Any] = from_json(b"".join(_pieces(WordsAsJson(bundle.vocabulary), contexts, answers)))
    return answer


def _pieces(
    words: WordsAsJson,
    contexts: Sequence[Sequence[int]],
    answers: Sequence[Predicted],
    *,
    explain: bool = False,
) -> Iterator[bytes]:
    before = '{"results":['
    for tokens, answer in zip(contexts, answers, strict=True):
        unknown = tokens.count(words.unknown_id)
        clusters = answer.clusters if explain else None
        result = to_json(predict_result((), len(tokens), unknown, answer.error, clusters)).decode()
        # The words are escaped already, and come into the empty list: the first one of the result.
        yield f"{before}{result.replace('[]', f'[{words.pairs(answer)}]', 1)}".encode()
        before = ","
    yield b"]}"
