"""POST /v1/score: how probable is this text?"""

from collections.abc import Iterator, Sequence
from functools import partial

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.responses import Response

from models.text.vocabulary import Token
from service.contract.answers import score_result, scored_words
from service.contract.messages import Score, Scored
from service.contract.numbers import rounded
from service.http.request.call import INLINE_CHARS, Call
from service.http.request.context import Context
from service.http.request.limits import place
from service.http.request.questions import scores
from service.http.request.routing import Request, add_model_route
from service.http.schemas.native import ScoreAnswer, ScoreRequest

PATH = "/v1/score"

WORDS_A_PIECE = 1000


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def score(request: Request) -> Response:
        call = await Call.read(request, ScoreRequest, context)
        body, vocabulary = call.body, call.served.bundle.vocabulary
        context.limits.check_chars(body.context, "context")
        call.large = call.large or len(body.context) > INLINE_CHARS
        name = partial(place, single=call.single)

        def prepare() -> tuple[list[list[Token]], list[Score]]:
            given = [body.context, *body.inputs]
            history, *texts = vocabulary.tokenize_batch(given, body.pretokenized)
            context.limits.check_words(len(history), "context")
            before, *ids = [[token.id for token in tokens] for tokens in (history, *texts)]
            messages = scores(call, before, ids, body.end_of_sentence, body.mode, name)
            if body.end_of_sentence:
                for text, tokens in zip(body.inputs, texts, strict=True):
                    tokens.append(vocabulary.end_of(text))
            return texts, messages

        texts, messages = await call.work(prepare)
        answers = await call.of(messages)
        return await call.answer(pieces(vocabulary.unknown_id, texts, answers, body.per_word), answers)

    add_model_route(
        app,
        PATH,
        score,
        request=ScoreRequest,
        answer=ScoreAnswer,
        example=context.models.first.examples.get(PATH),
        summary="How probable is each text?",
    )


def pieces(
    unknown_id: int, texts: Sequence[list[Token]], answers: Sequence[Scored], per_word: bool
) -> Iterator[bytes]:
    """The JSON of a whole answer, a piece a text or `WORDS_A_PIECE` words."""
    before = b'{"results":['
    for tokens, answer in zip(texts, answers, strict=True):
        logprobs, total = rounded(answer.logprobs)
        unknown = sum(token.id == unknown_id for token in tokens)
        summary = score_result(total, len(logprobs), unknown, answer.error, () if per_word else None)
        result = before + to_json(summary, inf_nan_mode="null")
        if per_word:
            # The words come into the empty list at the result's end, a piece at a time.
            yield result.removesuffix(b"]}")
            for start in range(0, len(tokens), WORDS_A_PIECE):
                piece = slice(start, start + WORDS_A_PIECE)
                words = scored_words(tokens[piece], logprobs[piece], unknown_id)
                yield (b"," if start else b"") + to_json(words, inf_nan_mode="null")[1:-1]
            yield b"]}"
        else:
            yield result
        before = b","
    yield b"]}"
