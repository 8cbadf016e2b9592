"""A request's way through the engine: body in, messages out, answers back, bytes out."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Generic, Protocol, TypeVar, cast, overload

from starlette.responses import Response

from service.contract.errors import (
    ClientDisconnected,
    DeadlineExceeded,
    InvalidRequest,
    MalformedBody,
    TooLarge,
)
from service.contract.messages import Predict, Predicted, Score, Scored
from service.fleet.served import Served
from service.http.edge.connection import COMPLETE_KEY
from service.http.request.context import Context
from service.http.request.parsing import parse
from service.http.request.routing import Request
from service.http.request.waiting import wait_for_all
from service.http.schemas.native import ModelRequest

INLINE_CHARS = 8192
INLINE_WORDS = 2048
"""A request of more characters, and an answer of more words, is worked on in a thread: it takes longer than a
millisecond or so, for which no other request should wait. The event loop's thread goes on meanwhile."""


class ModelBody(Protocol):
    """What every request to a model has."""

    @property
    def model(self) -> str | None:
        """The name of the model that is asked; None means the first."""

    @property
    def timeout_ms(self) -> int | None:
        """Milliseconds until the answer is late; None leaves it to the server."""


R = TypeVar("R", bound=ModelBody)
B = TypeVar("B", bound=ModelBody)
M = TypeVar("M", bound=ModelRequest)
T = TypeVar("T")


class Call(Generic[R]):
    """One request to a model: its body, the model that it asks (`served`), and by when it is to be answered
    (`deadline`, as `time.monotonic()`)."""

    def __init__(self, context: Context, request: Request, body: R, served: Served, deadline: float) -> None:
        self.context = context
        self.body = body
        self.served = served
        self.single = False
        """Whether `inputs` was a single string."""
        self.texts = "inputs"
        """How `param` names all texts together."""
        self.deadline = deadline
        self.exchange = request.exchange
        self.large = self.exchange.bytes_in > INLINE_CHARS
        self._scope = request.scope
        self._receive = request.receive

    @staticmethod
    async def read(request: Request, kind: type[M], context: Context) -> "Call[M]":
        """Reads and checks what every request about inputs has: JSON of the right shape, time, model and
        inputs.

        Raises:
            InvalidRequest, ModelNotFound, DeadlineExceeded, ClientDisconnected: as their names say.
        """
        single = False

        def read(raw: bytes) -> M:
            nonlocal single
            body, single = parse(kind, raw)
            return body

        call = await Call.read_object(request, read, context)
        inputs = call.body.inputs
        context.limits.check_inputs(inputs, single)
        call.single = single
        call.exchange.inputs = len(inputs)
        call.large = sum(map(len, inputs)) > INLINE_CHARS
        return call

    @staticmethod
    async def read_object(request: Request, read: Callable[[bytes], B], context: Context) -> "Call[B]":
        """Reads a request with `read`, which makes an object of its body; finds its time and its model.

        Raises:
            InvalidRequest, ModelNotFound, DeadlineExceeded, ClientDisconnected: as their names say.
        """
        exchange = request.exchange
        started, headers = exchange.started, exchange.headers
        seconds = _header_timeout(headers.get(b"x-request-timeout"), context.settings.request_timeout)
        seconds = min(seconds, context.settings.max_request_timeout)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise MalformedBody("A compressed body is not accepted.", code="unsupported_content_encoding")
        if COMPLETE_KEY in request.scope:  # As nearly always: it will not have to be waited for.
            raw = await _read_body(request, context)
        else:
            raw = await read_body(request, context, started + seconds)
        body = read(raw)
        if body.timeout_ms is not None and body.timeout_ms < seconds * 1e3:
            seconds = body.timeout_ms / 1e3
        served = context.models.get(body.model)
        if exchange.trace is not None:
            exchange.trace.read(served.name)
        return Call(context, request, body, served, started + seconds)

    async def work(self, how: Callable[[], T], words: int = 0) -> T:
        """`how()`, in a thread if the request is large or this is about more than `INLINE_WORDS` words."""
        if self.large or words > INLINE_WORDS:
            return await self.context.in_worker(how)
        return how()

    @overload
    async def of(self, messages: Sequence[Predict]) -> list[Predicted]: ...

    @overload
    async def of(self, messages: Sequence[Score]) -> list[Scored]: ...

    async def of(self, messages: Sequence[Predict] | Sequence[Score]) -> list[Predicted] | list[Scored]:
        """Submits the messages and waits for all answers; if that fails, the others are cancelled.

        Raises:
            InvalidRequest: the messages together are more than the queue can ever hold.
            QueueFull, NotReady, Draining, InferenceFailed: from the engine.
            DeadlineExceeded, ClientDisconnected: the answer would be of no use.
        """
        trace = self.exchange.trace
        submitted = 0.0 if trace is None else trace.submit()
        futures: Sequence[Future[Predicted | Scored]] = ()
        try:
            futures = await self.work(partial(self.served.engine.submit, messages))
            await wait_for_all(futures, self.deadline, self._scope, self._receive)
        except TooLarge as error:
            # From an engine in another process by way of its futures.
            raise InvalidRequest(error.message, param=self.texts, code="too_many_words") from error
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        answers = cast("list[Predicted] | list[Scored]", [future.result() for future in futures])
        if trace is not None:
            trace.answered(submitted, answers)
        self.exchange.queue_seconds = max([answer.timing.queue_seconds for answer in answers])
        self.exchange.engine_seconds = max([answer.timing.engine_seconds for answer in answers])
        return answers

    async def answer(self, pieces: Iterable[bytes], answers: Sequence[Predicted | Scored]) -> Response:
        """The response: `pieces`, which are not made yet, joined as JSON, and the request's times as
        `Server-Timing` (milliseconds)."""
        words = sum([len(answer.logprobs) for answer in answers])
        body = await self.work(partial(b"".join, pieces), words)
        return JsonBytes(body, self._timing(answers).encode())

    def json(self, body: bytes) -> Response:
        """The response: `body`, which is JSON, and the request's time."""
        milliseconds = (time.monotonic() - self.exchange.started) * 1e3
        return JsonBytes(body, f"total;dur={milliseconds:.3f}".encode())

    def _timing(self, answers: Sequence[Predicted | Scored]) -> str:
        exchange = self.exchange
        batch = max([answer.timing.batch_size for answer in answers])
        cached = sum([answer.timing.cached_tokens for answer in answers])
        return (
            f"queue;dur={(exchange.queue_seconds or 0) * 1e3:.3f}, "
            f"engine;dur={(exchange.engine_seconds or 0) * 1e3:.3f}, "
            f"total;dur={(time.monotonic() - exchange.started) * 1e3:.3f}, "
            f'batch;desc="{batch}", cached;desc="{cached}"'
        )


class JsonBytes(Response):
    """A JSON body as it is, and its times."""

    def __init__(self, body: bytes, timing: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", timing),
        ]


def _header_timeout(value: bytes | None, default: float) -> float:
    if value is None:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        message = "X-Request-Timeout must be a number of seconds greater than 0."
        raise InvalidRequest(message, param="X-Request-Timeout")
    return seconds


async def _read_body(request: Request, context: Context) -> bytes:
    exchange, most, bodies = request.exchange, context.settings.max_body_bytes, context.bodies
    body = bytearray()
    try:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunk: bytes = message.get("body", b"")
            exchange.bytes_in += len(chunk)
            exchange.body_ended = not message.get("more_body", False)
            if exchange.bytes_in > most:
                raise TooLarge.of_body(most)
            if exchange.body_ended:
                return bytes(body) + chunk if body else chunk
            bodies.hold(len(chunk))
            body += chunk
    finally:
        if body:
            bodies.release(len(body))


async def read_body(request: Request, context: Context, deadline: float) -> bytes:
    """A request's body. Raises TooLarge, ClientDisconnected and DeadlineExceeded."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await _read_body(request, context)
    except TimeoutError:
        raise DeadlineExceeded("The request's deadline passed before its body was there.") from None
