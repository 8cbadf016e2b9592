"""What crosses the socket between an HTTP worker and the engine process: frames of msgpack, no pickle.

A frame is its length (4 bytes, little endian) and one of these structs. `number` is the worker's own for a
group of messages, `index` a message's place in it, `engine` the engine that knows its tokens (one for each
loading of a model). Deadlines cross as they are: `time.monotonic()` is one clock for all processes of a
machine.

    worker -> engine   AskPredict, AskScore, Cancel, AskSamples, AskReload, Switched, Finished
    engine -> worker   Models, State, PredictedOne, ScoredOne, Failed, Refused, Samples, ReloadDone
"""

from collections.abc import Iterator, Sequence

import msgspec

from service.contract.errors import (
    DeadlineExceeded,
    Draining,
    HeadfirstError,
    InferenceFailed,
    InternalError,
    ModelNotFound,
    NotReady,
    QueueFull,
    ReloadFailed,
    ReloadRunning,
    TooLarge,
)
from service.contract.messages import Message, Predict, Predicted, Reloaded, Score, Scored
from service.link.announcement import Announcement
from service.metrics.samples import Sample

_LENGTH_BYTES = 4

_ERRORS: dict[str, type[HeadfirstError]] = {
    error.__name__: error
    for error in (
        DeadlineExceeded,
        Draining,
        InferenceFailed,
        InternalError,
        ModelNotFound,
        NotReady,
        QueueFull,
        ReloadFailed,
        ReloadRunning,
        TooLarge,
    )
}
"""What an engine answers or raises."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """Base of all: as short as can be, names are not sent."""


class AskPredict(Frame, frozen=True, tag=1):
    """`Engine.submit` of predictions."""

    number: int
    engine: int
    messages: tuple[Predict, ...]


class AskScore(Frame, frozen=True, tag=2):
    """`Engine.submit` of scoring."""

    number: int
    engine: int
    messages: tuple[Score, ...]


class Cancel(Frame, frozen=True, tag=3):
    """The worker has no use for the answers to these messages any more."""

    number: int
    indexes: tuple[int, ...]


class AskSamples(Frame, frozen=True, tag=4):
    """Asks for the engines' metrics."""

    number: int


class AskReload(Frame, frozen=True, tag=11):
    """Asks to load the models of these names again, or all of them."""

    number: int
    names: tuple[str, ...] | None


class Switched(Frame, frozen=True, tag=12):
    """The worker's new requests ask what `Models` with this number told."""

    number: int


class Finished(Frame, frozen=True, tag=13):
    """None of the worker's requests asks an engine from before `Models` with this number any more."""

    number: int


class Models(Frame, frozen=True, tag=14):
    """What is served from now on; sent first, and after each reload."""

    number: int
    models: tuple[Announcement, ...]


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A `HeadfirstError`: the name of its class and what its instance was given."""

    name: str
    message: str
    param: str | None
    code: str | None
    retry_after: float | None

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        """What to send for an exception; one that no engine should raise becomes `InternalError`, without its
        text."""
        name = type(error).__name__
        if not isinstance(error, HeadfirstError) or name not in _ERRORS:
            error, name = InternalError(), InternalError.__name__
        return cls(name, error.message, error.param, error.code, error.retry_after)

    def error(self) -> HeadfirstError:
        """The exception again."""
        kind = _ERRORS.get(self.name, InternalError)
        return kind(self.message, param=self.param, code=self.code, retry_after=self.retry_after)


class State(Frame, frozen=True, tag=5):
    """The engines' common `state` and `reason`; sent after the first `Models`, and at each change."""

    state: str
    reason: str


class PredictedOne(Frame, frozen=True, tag=6):
    """Answers one message of `AskPredict`."""

    number: int
    index: int
    answer: Predicted


class ScoredOne(Frame, frozen=True, tag=7):
    """Answers one message of `AskScore`."""

    number: int
    index: int
    answer: Scored


class Failed(Frame, frozen=True, tag=8):
    """The engine failed on one message."""

    number: int
    index: int
    fault: Fault


class Refused(Frame, frozen=True, tag=9):
    """`Engine.submit` raised: no message of the group was accepted. Or there was no reload."""

    number: int
    fault: Fault


class Samples(Frame, frozen=True, tag=10):
    """Answers `AskSamples`: all that are not 0."""

    number: int
    samples: tuple[Sample, ...]


class ReloadDone(Frame, frozen=True, tag=15):
    """Answers `AskReload`."""

    number: int
    models: tuple[Reloaded, ...]


Question = AskPredict | AskScore | Cancel | AskSamples | AskReload | Switched | Finished
Reply = Models | State | PredictedOne | ScoredOne | Failed | Refused | Samples | ReloadDone

_encoder = msgspec.msgpack.Encoder()
_question_decoder = msgspec.msgpack.Decoder(Question)
_reply_decoder = msgspec.msgpack.Decoder(Reply)


def encode(frame: Frame) -> bytes:
    """The frame with its length before it."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


def encode_ask(number: int, engine: int, messages: Sequence[Message]) -> bytes:
    """The frame that submits messages, which are all predictions or all scoring, to one of the engines.

    Raises:
        TypeError: they are mixed.
    """
    predicts = tuple(message for message in messages if isinstance(message, Predict))
    scores = tuple(message for message in messages if isinstance(message, Score))
    if predicts and scores:
        raise TypeError("a group is all predictions or all scoring")
    return encode(AskScore(number, engine, scores) if scores else AskPredict(number, engine, predicts))


def decode_question(body: bytes) -> Question:
    """What a worker sent. Raises `msgspec.DecodeError` (also `ValidationError`) for anything else."""
    question: Question = _question_decoder.decode(body)
    return question


def decode_reply(body: bytes) -> Reply:
    """What the engine sent. Raises `msgspec.DecodeError` (also `ValidationError`) for anything else."""
    reply: Reply = _reply_decoder.decode(body)
    return reply


class Splitter:
    """Cuts the bytes of a stream, in whatever pieces they come, into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete with `data`."""
        self._buffer += data
        start = 0
        while True:
            body = start + _LENGTH_BYTES
            end = body + int.from_bytes(self._buffer[start:body], "little")
            if body > len(self._buffer) or end > len(self._buffer):
                break
            yield bytes(self._buffer[body:end])
            start = end
        # Once for all frames: what is deleted in front moves all the rest.
        del self._buffer[:start]
