"""POST /v1/score: how probable is this text?"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.responses import Response

from service.contract.messages import Scored
from service.http.request.call import INLINE_CHARS, Call
from service.http.request.context import Context
from service.http.request.limits import place
from service.http.request.routing import Request, add_model_route
from service.http.request.scoring import Scoring, TextsToScore, read_contexts, read_regions
from service.http.schemas.native import ScoreAnswer, ScoreRequest
from service.scoring.scored_text import Group, Regions, ScoredText

PATH = "/v1/score"

WORDS_A_PIECE = 1000


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def score(request: Request) -> Response:
        call = await Call.read(request, ScoreRequest, context)
        body = call.body
        contexts = read_contexts(body.context, body.inputs, call)
        call.large = call.large or sum(map(len, contexts)) > INLINE_CHARS
        asked = Scoring(
            texts=body.inputs,
            contexts=contexts,
            end_of_sentence=body.end_of_sentence,
            pretokenized=body.pretokenized,
            mode=body.mode,
            group=body.group,
            regions=read_regions(body.regions, len(body.inputs), call.single),
            unknown=body.unknown,
            unknown_penalty=body.unknown_penalty,
            lines=body.lines,
            ignore_case=body.ignore_case,
            single=call.single,
            place=partial(place, single=call.single),
        )
        texts = await call.work(lambda: TextsToScore(call, asked))
        answers = await texts.ask()
        return await call.answer(written(texts, answers, body.per_word), answers)

    add_model_route(
        app,
        PATH,
        score,
        request=ScoreRequest,
        answer=ScoreAnswer,
        example=context.models.first.examples.get(PATH),
        summary="How probable is each text?",
    )


def written(texts: TextsToScore[ScoreRequest], answers: Sequence[Scored], per_word: bool) -> Iterator[bytes]:
    """The JSON of a whole answer, a piece at a time."""
    yield from pieces(texts.scored(answers), texts.regions, per_word, texts.asked.group)


def pieces(
    texts: Sequence[ScoredText],
    regions: Sequence[Regions | None],
    per_word: bool = True,
    group: Group = "token",
) -> Iterator[bytes]:
    """The JSON of a whole answer, a piece a text or `WORDS_A_PIECE` words."""
    before = b'{"results":['
    for text, of_text in zip(texts, regions, strict=True):
        result = before + to_json(text.summary(() if per_word else None), inf_nan_mode="null")
        if per_word:
            # The words come into the empty list at the result's end, a piece at a time.
            yield result.removesuffix(b"]}")
            words, comma = text.entries(group, of_text), b""
            while piece := list(islice(words, WORDS_A_PIECE)):
                yield comma + to_json(piece, inf_nan_mode="null")[1:-1]
                comma = b","
            yield b"]}"
        else:
            yield result
        before = b","
    yield b"]}"
