"""POST /v1/predict: which words come next?"""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from models.bundle import Bundle
from service.messages import Predict, Predicted
from service.parsing import place
from service.routes.ask import Ask
from service.routes.context import Context
from service.routes.direct import add_model_route
from service.routes.examples import predicted
from service.routes.questions import Questions
from service.schemas import PredictAnswer, PredictRequest
from service.scoring import logprob_error
from service.words_as_json import WordsAsJson

PATH = "/v1/predict"


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def predict(request: Request) -> Response:
        ask = await Ask.read(request, PredictRequest, context)
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
    before = '{"results":[{"words":['
    for tokens, answer in zip(contexts, answers, strict=True):
        rest: dict[str, object] = {
            "context_words": len(tokens),
            "unknown_words": tokens.count(words.unknown_id),
        }
        if explain:
            rest["explain"] = {"clusters": answer.clusters}
        rest |= logprob_error(answer.error)
        yield f"{before}{words.pairs(answer)}],{to_json(rest).decode()[1:]}".encode()
        before = ',{"words":['
    yield b"]}"
