"""POST /tokenize and /detokenize, GET /tokenizer_info: for clients that count tokens themselves."""

from fastapi import FastAPI
from starlette.responses import Response

from service.contract.errors import Unauthorized
from service.http.openai.prompts import read_ids
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.parsing import parse_object
from service.http.request.routing import REQUEST_ID, Request, add_model_route, add_route
from service.http.schemas.openai import (
    Detokenized,
    DetokenizeRequest,
    Tokenized,
    TokenizeRequest,
    TokenizerInfo,
)

TOKENIZE, DETOKENIZE, INFO = "/tokenize", "/detokenize", "/tokenizer_info"


def add(app: FastAPI, context: Context) -> None:
    """Adds the routes to `app`."""

    async def tokenize(request: Request) -> Response:
        call = await Call.read_object(request, lambda raw: parse_object(TokenizeRequest, raw), context)
        body, vocabulary = call.body, call.served.bundle.vocabulary
        context.limits.check_chars(body.prompt, "prompt")
        special = vocabulary.special_word(body.prompt)
        ids = (
            [special]
            if special is not None
            else await call.work(lambda: vocabulary.encode_batch([body.prompt])[0])
        )
        if body.add_special_tokens:
            ids = [vocabulary.start_id, *ids]
        answer = Tokenized(
            count=len(ids),
            max_model_len=context.settings.max_input_words,
            tokens=ids,
            token_strs=[vocabulary.word(one) for one in ids] if body.return_token_strs else None,
        )
        return call.json(answer.model_dump_json(exclude_none=True).encode())

    async def detokenize(request: Request) -> Response:
        call = await Call.read_object(request, lambda raw: parse_object(DetokenizeRequest, raw), context)
        vocabulary = call.served.bundle.vocabulary
        context.limits.check_words(len(call.body.tokens), "tokens")
        ids = read_ids(list(call.body.tokens), "tokens", vocabulary)
        answer = Detokenized(prompt=await call.work(lambda: vocabulary.decode(ids)))
        return call.json(answer.model_dump_json().encode())

    async def info(request: Request) -> Response:
        vocabulary = context.models.first.bundle.vocabulary
        answer = TokenizerInfo(
            vocab_size=len(vocabulary),
            bos_token=vocabulary.word(vocabulary.start_id),
            eos_token=vocabulary.word(vocabulary.end_id),
            unk_token=vocabulary.word(vocabulary.unknown_id),
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    for path, endpoint, request, answer, summary in (
        (TOKENIZE, tokenize, TokenizeRequest, Tokenized, "Which tokens is this text?"),
        (DETOKENIZE, detokenize, DetokenizeRequest, Detokenized, "Which text are these tokens?"),
    ):
        add_model_route(app, path, endpoint, request=request, answer=answer, example=None, summary=summary)
    add_route(
        app,
        INFO,
        info,
        errors=(Unauthorized(),),
        response_model=TokenizerInfo,
        summary="What is the first model's tokenizer?",
        tags=["model"],
        openapi_extra={"parameters": [REQUEST_ID]},
    )
