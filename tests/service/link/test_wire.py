"""Messages and errors survive the way through a socket, in whatever pieces it comes."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.errors import (
    DeadlineExceeded,
    Draining,
    HeadfirstError,
    InferenceFailed,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotReady,
    QueueFull,
    ReloadFailed,
    ReloadRunning,
    TooLarge,
)
from service.contract.messages import Message, Predict, Predicted, Reloaded, Score, Scored, Timing
from service.link import wire
from service.link.announcement import Announcement
from service.metrics.samples import Sample

TIMING = Timing(0.25, 1.5, 64, 3)

PREDICT = Predict("me/0", (1, 2, 102_399), 10, "ba", 12.5)
SCORE = Score("me/1", (), (5, 1), None)
NARROW = Predict("me/4", (1,), 5, "y", None, ignore_case=True, words_only=True, exclude=(1, 102_399))
FAST = (Predict("me/2", (3,), 5, None, None, fast=True), Score("me/3", (4,), (5, 1), 1.0, fast=True))

QUESTIONS: list[wire.Question] = [
    wire.AskPredict(1, 1, (PREDICT, NARROW, Predict("", (), 1, None, None), FAST[0])),
    wire.AskScore(2**40, 7, (SCORE, FAST[1])),
    wire.Cancel(3, (0, 7)),
    wire.AskSamples(4),
    wire.AskReload(5, None),
    wire.AskReload(6, ("en",)),
    wire.Switched(7),
    wire.Finished(8),
]
REPLIES: list[wire.Reply] = [
    wire.State("starting", "the model is warming up"),
    wire.PredictedOne(1, 0, Predicted((4, 1), (-0.5, -math.inf), (0, 63), TIMING)),
    wire.PredictedOne(1, 1, Predicted((4,), (-0.5,), (), TIMING, error=0.0078125)),
    wire.ScoredOne(2, 1, Scored((-1.25, -1e-300), TIMING)),
    wire.ScoredOne(2, 2, Scored((-1.25,), TIMING, error=0.001)),
    wire.Failed(3, 0, wire.Fault.of(InferenceFailed())),
    wire.Refused(4, wire.Fault.of(QueueFull(retry_after=2.5))),
    wire.Samples(5, (Sample("headfirst_x", {"reason": "expired"}, 1.0),)),
    wire.Models(6, (Announcement(3, "en", "/en", "/t.json", "float32", "cpu", "{}", "{}", {"/": {"a": 1}}),)),
    wire.ReloadDone(7, (Reloaded("en", "0123", "4567"),)),
]


def bodies(data: bytes) -> list[bytes]:
    return list(wire.Splitter().feed(data))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda frame: type(frame).__name__)
def test_questions_are_the_same_afterwards(question: wire.Question) -> None:
    (body,) = bodies(wire.encode(question))
    assert wire.decode_question(body) == question


@pytest.mark.parametrize("reply", REPLIES, ids=lambda frame: type(frame).__name__)
def test_replies_are_the_same_afterwards(reply: wire.Reply) -> None:
    (body,) = bodies(wire.encode(reply))
    assert wire.decode_reply(body) == reply


@given(st.lists(st.integers(0, 40), max_size=20))
def test_frames_in_any_pieces(cuts: list[int]) -> None:
    data = b"".join(map(wire.encode, QUESTIONS))
    splitter = wire.Splitter()
    found: list[bytes] = []
    for cut in cuts:
        found += splitter.feed(data[:cut])
        data = data[cut:]
    found += splitter.feed(data)
    assert [wire.decode_question(body) for body in found] == QUESTIONS


def test_a_frame_is_small() -> None:
    frame = wire.encode(wire.PredictedOne(1000, 0, Predicted(tuple(range(10)), (-0.5,) * 10, (1,), TIMING)))
    assert len(frame) < 288


@pytest.mark.parametrize(
    ("messages", "kind"), [((PREDICT, PREDICT), wire.AskPredict), ((SCORE,), wire.AskScore)]
)
def test_a_group_is_of_one_kind(messages: tuple[Message, ...], kind: type[wire.Frame]) -> None:
    (body,) = bodies(wire.encode_ask(7, 3, messages))
    question = wire.decode_question(body)
    assert isinstance(question, kind)
    assert (question.engine, question.messages) == (3, messages)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="all predictions or all scoring"):
        wire.encode_ask(7, 3, (PREDICT, SCORE))


@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceeded(),
        Draining(),
        InferenceFailed("x", param="inputs[3]"),
        ModelNotFound(),
        ReloadFailed("/en: config.json is missing"),
        ReloadRunning(),
        NotReady("why", code="loading"),
        QueueFull(retry_after=17.25),
        TooLarge("Too many words.", code="request_too_large"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_the_same_afterwards(error: HeadfirstError) -> None:
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(wire.Fault.of(error)), type=wire.Fault).error()
    assert type(back) is type(error)
    assert back.as_dict() == error.as_dict()
    assert back.headers() == error.headers()


@pytest.mark.parametrize("error", [ValueError("a client's text"), MethodNotAllowed(allowed="GET")])
def test_other_exceptions_tell_nothing(error: Exception) -> None:
    back = wire.Fault.of(error).error()
    assert type(back) is InternalError
    assert back.as_dict() == InternalError().as_dict()


@pytest.mark.parametrize("body", [b"", b"\x93\x01", b"\x91\x63", msgspec.msgpack.encode([1, "x", []])])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode_question(body)
    with pytest.raises(msgspec.DecodeError):
        wire.decode_reply(body)
