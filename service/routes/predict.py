"""POST /v1/predict: which words come next?"""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from models.bundle import Bundle
from models.vocabulary import Vocabulary
from service.errors import InvalidRequest
from service.messages import Predict, Predicted
from service.routes.ask import Ask
from service.routes.context import Context
from service.routes.direct import add_model_route
from service.routes.examples import predicted
from service.schemas import PredictAnswer, PredictRequest, place
from service.scoring import DIGITS, logprob_error

PATH = "/v1/predict"


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""
    vocabulary = context.bundle.vocabulary
    as_json = WordsAsJson(vocabulary)

    async def predict(request: Request) -> Response:
        ask = await Ask.read(request, PredictRequest, context)
        body = ask.body
        if body.k > context.settings.max_k:
            raise InvalidRequest(f"k must be at most {context.settings.max_k}.", param="k")

        def prepare() -> list[Predict]:
            messages, fast = [], context.fast(body.mode)
            for index, tokens in enumerate(vocabulary.encode_batch(body.inputs, body.pretokenized)):
                context.check_words(len(tokens), place(index, ask.single))
                used = tuple(last_words(tokens, context.settings.max_context_words))
                request_id = f"{ask.exchange.id}/{index}"
                messages.append(Predict(request_id, used, body.k, body.prefix or None, ask.deadline, fast))
            return messages

        messages = await ask.work(prepare)
        answers = await ask.of(messages)
        words = sum(len(answer.ids) for answer in answers)
        contexts = [message.tokens for message in messages]
        pieces = _pieces(as_json, contexts, answers, explain=ask.body.explain)
        return await ask.answer(pieces, words, answers)

    add_model_route(
        app,
        PATH,
        predict,
        request=PredictRequest,
        answer=PredictAnswer,
        example=context.examples.get(PATH) or example(context.bundle),
        summary="Which words come next?",
    )


def example(bundle: Bundle) -> dict[str, Any]:
    """What the model answers to the first example of a request."""
    request = PredictRequest.model_validate(PredictRequest.EXAMPLES[0])
    contexts = bundle.vocabulary.encode_batch(request.inputs)
    answers = [predicted(bundle, tokens, request.k) for tokens in contexts]
    answer: dict[str, Any] = from_json(b"".join(_pieces(WordsAsJson(bundle.vocabulary), contexts, answers)))
    return answer


def last_words(tokens: list[int], limit: int) -> list[int]:
    """The tokens that a prediction uses: the last `limit` at most, at least half of it if there are so many.

    The start moves in steps of half the limit, so that the text of a typing client keeps its start, and with
    it the cached state of its earlier words, for as many words.
    """
    if len(tokens) <= limit:
        return tokens
    step = limit // 2
    return tokens[-(-(len(tokens) - limit) // step) * step :]


def _pieces(
    words: "WordsAsJson",
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
                text = to_json(self._vocabulary.word(word)).decode()
                self._begun[word] = f'{{"word":{text},"logprob":'
            return self._join(answer)

    def _join(self, answer: Predicted) -> str:
        begun = self._begun
        return ",".join(
            [
                f"{begun[word]}{round(logprob, DIGITS)}}}"
                for word, logprob in zip(answer.ids, answer.logprobs, strict=True)
            ]
        )
