"""POST /v1/completions: how does each prompt go on? In the shape of OpenAI's API."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.contract.errors import ClientDisconnected, HeadfirstError, InvalidRequest, NotFound
from service.contract.messages import Score, Scored
from service.http.edge.connection import CONNECTION_KEY, UNFRAMED_KEY, Connection
from service.http.edge.middleware import as_headfirst_error
from service.http.openai.completion import GrowingCompletion, Options, Tokens
from service.http.openai.echo import Prompt, echo
from service.http.openai.prompts import read_bias, read_prompts
from service.http.request.call import Call
from service.http.request.context import Context
from service.http.request.parsing import parse_object
from service.http.request.routing import Request, add_model_route, add_route
from service.http.schemas.openai import (
    Completion,
    CompletionChoice,
    CompletionRequest,
    FinishReason,
    Logprobs,
    Usage,
)
from service.scoring.unknown_words import UnknownWords

PATH, CHAT = "/v1/completions", "/v1/chat/completions"


def add(app: FastAPI, context: Context) -> None:
    """Adds the route to `app`."""

    async def completions(request: Request) -> Response:
        call = await Call.read_object(request, lambda raw: parse_object(CompletionRequest, raw), context)
        call.texts = "prompt"
        answer = await Answer.begin(call, context)
        return EventStream(answer) if call.body.stream else await answer.whole()

    async def chat(request: Request) -> Response:
        raise NotFound("This model goes on with a text and knows no chat: use POST /v1/completions.")

    add_route(app, CHAT, chat, methods=("POST",), include_in_schema=False)
    add_model_route(
        app,
        PATH,
        completions,
        request=CompletionRequest,
        answer=Completion,
        example=None,
        summary="How does each prompt go on? (as in OpenAI's API)",
    )


@dataclass(slots=True)
class _Choice:
    """A place in the answer: the completion that fills it, and what of the prompt stands before it."""

    growing: GrowingCompletion
    prompt: Prompt
    echoed: Tokens | None


class Answer:
    """A request's completions, from the first word to the last."""

    def __init__(self, call: Call[CompletionRequest], options: Options, choices: list[_Choice]) -> None:
        self.call, self.body, self.options = call, call.body, options
        self.choices = choices
        self.id = f"cmpl-{call.exchange.id}"
        self.created = int(time.time())

    @classmethod
    async def begin(cls, call: Call[CompletionRequest], context: Context) -> "Answer":
        """Checks the request, reads its prompts and scores those that are echoed with log-probabilities."""
        body, vocabulary = call.body, call.served.bundle.vocabulary
        best_of = body.best_of or body.n
        _check(body, best_of, context.settings.max_completion_words)
        prompts = await call.work(lambda: read_prompts(body.prompt, vocabulary, context))
        if len(prompts) * best_of > context.settings.max_inputs:
            message = f"prompts times completions must be at most {context.settings.max_inputs}."
            raise InvalidRequest(message, param="best_of" if body.best_of else "n", code="too_many_inputs")
        call.exchange.inputs = len(prompts)
        options = Options(
            max_tokens=16 if body.max_tokens is None else body.max_tokens,
            temperature=body.temperature if body.top_p else 0.0,
            top_p=body.top_p or 1.0,
            seed=secrets.randbits(63) if body.seed is None else body.seed,
            top=body.logprobs,
            stops=tuple(body.stop),
            bias=read_bias(body.logit_bias, vocabulary),
            frequency_penalty=body.frequency_penalty,
            presence_penalty=body.presence_penalty,
            context_words=context.settings.max_context_words,
        )
        _check_size(body, prompts, best_of, context)
        settings = context.settings
        unknown = UnknownWords.of(
            call.served.bundle,
            body.unknown,
            body.unknown_penalty,
            settings.unknown,
            settings.unknown_penalty,
        )
        echoed: list[Tokens | None] = [None] * len(prompts)
        if body.echo and body.logprobs is not None:
            scored = await _score(call, prompts, body.logprobs)
            echoed = [
                echo(vocabulary, prompt, one, body.logprobs, unknown)
                for prompt, one in zip(prompts, scored, strict=True)
            ]
        choices = [
            _Choice(
                GrowingCompletion(
                    vocabulary,
                    prompt.ids,
                    options,
                    offset=len(prompt.text) if body.echo else 0,
                    text=prompt.text,
                    number=number * best_of + i,
                ),
                prompt,
                before,
            )
            for number, (prompt, before) in enumerate(zip(prompts, echoed, strict=True))
            for i in range(best_of)
        ]
        return cls(call, options, choices)

    async def steps(self) -> AsyncIterator[list[int]]:
        """Goes on word by word, all completions side by side; after each step, which of them grew."""
        while growing := [i for i, one in enumerate(self.choices) if one.growing.finish is None]:
            messages = [
                self.choices[i].growing.ask(f"{self.call.exchange.id}/{i}", self.call.deadline)
                for i in growing
            ]
            for i, answer in zip(growing, await self.call.of(messages), strict=True):
                self.choices[i].growing.accept(answer)
            yield growing

    async def whole(self) -> Response:
        """The answer at once."""
        async for _ in self.steps():
            pass
        best_of = self.body.best_of or self.body.n
        kept: list[_Choice] = []
        for start in range(0, len(self.choices), best_of):
            group = self.choices[start : start + best_of]
            if best_of > self.body.n:
                # The most probable ones, a token; of equal ones the first.
                group = sorted(group, key=lambda one: -one.growing.mean_logprob)[: self.body.n]
            kept += group
        choices = [
            CompletionChoice(
                index=index,
                text=(one.prompt.text if self.body.echo else "") + one.growing.text,
                logprobs=self._logprobs(one),
                finish_reason=one.growing.finish,
            )
            for index, one in enumerate(kept)
        ]
        return self.call.json(self._completion(choices, self._usage()).model_dump_json().encode())

    async def events(self) -> AsyncIterator[bytes]:
        """The answer piece by piece."""
        if self.body.echo:
            for i, one in enumerate(self.choices):
                logprobs = None if one.echoed is None else _shape(one.echoed, self.options.top)
                yield self._event(i, one.prompt.text, logprobs, None)
        sent = [0] * len(self.choices)
        for i, one in enumerate(self.choices):
            if one.growing.finish is not None:
                yield self._event(i, "", None, one.growing.finish)
        async for grown in self.steps():
            for i in grown:
                growing = self.choices[i].growing
                text = growing.take()
                if not text and growing.finish is None:
                    continue  # It may yet become a stop string.
                logprobs = None
                if self.options.top is not None:
                    new = Tokens(
                        growing.tokens.words[sent[i] :],
                        growing.tokens.logprobs[sent[i] :],
                        growing.tokens.tops[sent[i] :],
                        growing.tokens.offsets[sent[i] :],
                    )
                    sent[i] = len(growing.tokens.words)
                    logprobs = _shape(new, self.options.top)
                yield self._event(i, text, logprobs, growing.finish)
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            yield _sent(self._completion([], self._usage()).model_dump_json())
        yield _sent("[DONE]")

    def _logprobs(self, one: _Choice) -> Logprobs | None:
        if self.options.top is None:
            return None
        before, after = one.echoed or Tokens(), one.growing.tokens
        return _shape(
            Tokens(
                before.words + after.words,
                before.logprobs + after.logprobs,
                before.tops + after.tops,
                before.offsets + after.offsets,
            ),
            self.options.top,
        )

    def _usage(self) -> Usage:
        best_of = self.body.best_of or self.body.n
        read = sum(len(one.prompt.tokens) + one.prompt.started for one in self.choices[::best_of])
        generated = sum(one.growing.generated for one in self.choices)
        return Usage(prompt_tokens=read, completion_tokens=generated, total_tokens=read + generated)

    def _completion(self, choices: list[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(
            id=self.id, created=self.created, model=self.call.served.name, choices=choices, usage=usage
        )

    def _event(self, index: int, text: str, logprobs: Logprobs | None, finish: FinishReason | None) -> bytes:
        choice = CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=finish)
        return _sent(self._completion([choice], None).model_dump_json())


class EventStream(Response):
    """An answer as server-sent events. What fails on the way is an event too, and the last one: the status
    was sent before."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status_code = 200
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # Proxies would wait for the whole.
        ]
        unframed = scope.get(UNFRAMED_KEY)
        connection: Connection | None = scope.get(CONNECTION_KEY)

        async def piece(event: bytes, *, more: bool = True) -> None:
            if connection is not None and connection.lost:
                raise ClientDisconnected
            if unframed is not None:
                unframed(len(event))
            await send({"type": "http.response.body", "body": event, "more_body": more})

        left = max(0.0, self.answer.call.deadline - time.monotonic())
        late = asyncio.get_running_loop().call_later(left, connection.give_up) if connection else None
        try:
            if unframed is not None:
                unframed(0)
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            try:
                async for event in self.answer.events():
                    await piece(event)
            except (HeadfirstError, asyncio.CancelledError) as error:
                if not isinstance(error, HeadfirstError) or error.status == 499:
                    raise  # The client has left.
                await piece(_sent(as_headfirst_error(error).body().decode()))
            await piece(b"", more=False)
        finally:
            if late is not None:
                late.cancel()


def _check(body: CompletionRequest, best_of: int, most: int) -> None:
    if body.suffix:
        message = "suffix is not supported: the model reads from left to right."
        raise InvalidRequest(message, param="suffix", code="unsupported")
    if best_of < body.n:
        raise InvalidRequest("best_of must not be less than n.", param="best_of")
    if body.stream and best_of > body.n:
        message = "best_of over n cannot be streamed: which completions are best is known at the end."
        raise InvalidRequest(message, param="best_of", code="unsupported")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options needs stream.", param="stream_options")
    if body.max_tokens is not None and body.max_tokens > most:
        raise InvalidRequest(f"max_tokens must be at most {most}.", param="max_tokens")


TOKEN_BYTES = 64
"""About as much does a token take in an answer, and as much again with its log-probability, and with each of
the most probable ones beside it."""


def _check_size(body: CompletionRequest, prompts: Sequence[Prompt], best_of: int, context: Context) -> None:
    """Raises InvalidRequest if the answer would be too large; before anything of it is made."""
    per_token = 0 if body.logprobs is None else TOKEN_BYTES * (2 + body.logprobs)
    if body.echo:
        tokens = sum(len(prompt.tokens) for prompt in prompts)
        size = sum(len(prompt.text.encode()) for prompt in prompts) + tokens * per_token
        context.limits.check_answer(size * best_of, "echo")
    words = 16 if body.max_tokens is None else body.max_tokens
    generated = len(prompts) * best_of * words * (TOKEN_BYTES // 4 + per_token)
    context.limits.check_answer(generated, "max_tokens")


async def _score(call: Call[CompletionRequest], prompts: Sequence[Prompt], top: int) -> list[Scored | None]:
    messages = [
        Score(f"{call.exchange.id}/{i}", (), tuple(prompt.ids), call.deadline, top=top)
        for i, prompt in enumerate(prompts)
        if prompt.tokens
    ]
    scored = iter(await call.of(messages) if messages else ())
    return [next(scored) if prompt.tokens else None for prompt in prompts]


def _shape(tokens: Tokens, top: int | None) -> Logprobs:
    return Logprobs(
        tokens=tokens.words,
        token_logprobs=tokens.logprobs,
        top_logprobs=tokens.tops if top else None,
        text_offset=tokens.offsets,
    )


def _sent(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
