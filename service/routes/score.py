"""POST /v1/score: how probable is this text?"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from models.bundle import Bundle
from models.vocabulary import Token, Vocabulary
from service.errors import InvalidRequest
from service.messages import Score, Scored
from service.parsing import place
from service.routes.ask import INLINE_CHARS, Ask
from service.routes.context import Context
from service.routes.direct import add_model_route
from service.routes.examples import scored
from service.schemas import ScoreAnswer, ScoreRequest
from service.scoring import DIGITS, logprob_error, perplexity

PATH = "/v1/score"

WORDS_A_PIECE = 1000


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def score(request: Request) -> Response:
        ask = await Ask.read(request, ScoreRequest, context)
        body, vocabulary = ask.body, ask.served.bundle.vocabulary
        end = end_of_sentence(vocabulary)
        context.check_chars(body.context, "context")
        ask.large = ask.large or len(body.context) > INLINE_CHARS

        def prepare() -> tuple[list[list[Token]], list[Score]]:
            given = [body.context, *body.inputs]
            history, *texts = vocabulary.tokenize_batch(given, body.pretokenized)
            context.check_words(len(history), "context")
            before = tuple(token.id for token in history)
            messages, fast = [], context.fast(body.mode)
            for index, tokens in enumerate(texts):
                param = place(index, ask.single)
                context.check_words(len(tokens), param)
                if body.end_of_sentence:
                    tokens.append(end)
                if not tokens:
                    message = f"{param} has no word to score; an empty text needs end_of_sentence."
                    raise InvalidRequest(message, param=param, code="empty")
                targets = tuple(token.id for token in tokens)
                messages.append(Score(f"{ask.exchange.id}/{index}", before, targets, ask.deadline, fast))
            return texts, messages

        texts, messages = await ask.work(prepare)
        answers = await ask.of(messages)
        words = sum(map(len, texts))
        pieces = _pieces(vocabulary.unknown_id, texts, answers, body.per_word)
        return await ask.answer(pieces, words, answers)

    add_model_route(
        app,
        PATH,
        score,
        request=ScoreRequest,
        answer=ScoreAnswer,
        example=context.models.first.examples.get(PATH),
        summary="How probable is each text?",
    )


def example(bundle: Bundle) -> dict[str, Any]:
    """What the model answers to the first example of a request."""
    vocabulary = bundle.vocabulary
    request = ScoreRequest.model_validate(ScoreRequest.EXAMPLES[0])
    texts = [[*tokens, end_of_sentence(vocabulary)] for tokens in vocabulary.tokenize_batch(request.inputs)]
    answers = [scored(bundle, [token.id for token in tokens]) for tokens in texts]
    answer: dict[str, Any] = from_json(b"".join(_pieces(vocabulary.unknown_id, texts, answers, True)))
    return answer


def end_of_sentence(vocabulary: Vocabulary) -> Token:
    """The token `</s>`."""
    return Token(vocabulary.end_id, vocabulary.word(vocabulary.end_id))


def _pieces(
    unknown_id: int, texts: Sequence[list[Token]], answers: Sequence[Scored], per_word: bool
) -> Iterator[bytes]:
    before = b'{"results":['
    for tokens, answer in zip(texts, answers, strict=True):
        # Summed after rounding, so that the sum of what the client sees is the sum that it sees.
        logprobs = [round(logprob, DIGITS) for logprob in answer.logprobs]
        total = round(math.fsum(logprobs), DIGITS)
        summary = {
            "logprob": total,
            "perplexity": perplexity(total, len(logprobs)),
            "word_count": len(logprobs),
            "unknown_words": sum(token.id == unknown_id for token in tokens),
            **logprob_error(answer.error),
        }
        yield before + to_json(summary, inf_nan_mode="null")[:-1]
        if per_word:
            yield b',"words":['
            for start in range(0, len(tokens), WORDS_A_PIECE):
                words = [
                    {"word": token.surface, "logprob": logprob, "known": token.id != unknown_id}
                    for token, logprob in zip(
                        tokens[start : start + WORDS_A_PIECE],
                        logprobs[start : start + WORDS_A_PIECE],
                        strict=True,
                    )
                ]
                yield (b"," if start else b"") + to_json(words, inf_nan_mode="null")[1:-1]
            yield b"]"
        yield b"}"
        before = b","
    yield b"]}"
