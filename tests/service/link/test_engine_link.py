"""A worker's engine, the socket and the engine process's side of it, all on one event loop."""

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.bundle import Bundle, BundleError
from service.contract.errors import (
    DeadlineExceeded,
    Draining,
    HeadfirstError,
    InternalError,
    ModelNotFound,
    NotReady,
    QueueFull,
    ReloadFailed,
    TooLarge,
)
from service.contract.messages import Answer, Predict, Score
from service.engine.engine import Engine
from service.fleet.fleet import Fleet
from service.fleet.loading import load
from service.http.api.examples import describe
from service.link import wire
from service.link.announcement import Announcement
from service.link.engine_link import EngineLink
from service.link.engine_server import EngineServer
from service.link.remote_engine import RemoteEngine
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.asgi import wait_for
from tests.support.engines import FakeEngine, compute
from tests.support.http import assert_same
from tests.support.tiny import tiny_bundle

pytestmark = pytest.mark.anyio


class Startable(FakeEngine):
    """The double, with what its process does to it."""

    stalled = 0.0

    def start(self) -> None:
        """It is ready from the first."""

    def stop(self) -> None:
        self.state = "stopped"
        self.close()


class Asking:
    """A worker's requests: they ask what was told last, and end at once if the test says nothing else."""

    def __init__(self) -> None:
        self.models: list[RemoteEngine] = []
        self.held: asyncio.Event | None = None
        """Is set when those who began before the last change are done."""
        self.fault: Exception | None = None

    async def switch(self, models: Sequence[tuple[Announcement, RemoteEngine]]) -> None:
        if self.fault is not None:
            raise self.fault
        self.models = [model for _, model in models]

    async def finish(self) -> None:
        if self.held is not None:
            await self.held.wait()


class Link:
    """Both ends. The listening socket outlives the engine's end, as the supervisor's does."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = str(path / "engine.sock")
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.remote = EngineLink(self.path)
        self.asking = Asking()
        self.server: EngineServer | None = None
        self._source = source
        self._copies = path
        self._serving: asyncio.Task[bool] | None = None
        self.running = asyncio.create_task(self.remote.keep_connected(self.asking))
        self.next_engine: Startable | Engine

    def start(self, engine: Startable | Engine, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        settings = Settings(model=(f"tiny={self._source}",), device="cpu")
        loaded = [load(source, settings, describe, self._copies) for source in settings.sources]
        self.next_engine = engine
        fleet = Fleet(
            settings,
            metrics,
            loaded,
            describe,
            self._copies,
            lambda *_: self.next_engine,  # type: ignore[arg-type, return-value]
        )
        self.server = EngineServer(fleet, metrics, lambda: None)
        self._serving = asyncio.create_task(self.server.serve(self.listening.dup()))

    def submit(self, messages: Sequence[Predict | Score]) -> list[Future[Answer]]:
        (model,) = self.asking.models or [self.remote.engine()]
        return model.submit(messages)

    async def until(self, state: str) -> None:
        await wait_for(lambda: self.remote.state == state)

    async def kill(self) -> None:
        """Ends the engine's side as a death does: the connections are gone, nothing is answered."""
        assert self.server is not None
        for connection in list(self.server.connections):
            connection._transport.abort()  # type: ignore[union-attr]
        await self.end()

    async def end(self) -> bool:
        assert self.server is not None
        assert self._serving is not None
        self.server.stop()
        async with asyncio.timeout(20):
            return await self._serving

    async def close(self) -> None:
        self.remote.drain(0)
        self.remote.stop()
        if self._serving is not None and not self._serving.done():
            await self.end()
        async with asyncio.timeout(20):
            self.running.cancel()
            await asyncio.wait([self.running])
        self.listening.close()


@asynccontextmanager
async def linked(
    path: Path, engine: Startable | Engine | None = None, **more: Metrics
) -> AsyncIterator[Link]:
    link = Link(path, tiny_bundle(path / "bundle"))
    try:
        if engine is not None:
            link.start(engine, **more)
            await link.until("ready")
        yield link
    finally:
        await link.close()


@pytest.fixture
def fake(bundle: Bundle) -> Startable:
    return Startable(lambda message: compute(bundle, message))


PREDICT = Predict("me/0", (5, 9), 3, None, None)
SCORE = Score("me/1", (4,), (8, 1), None)


async def answer_of(future: "asyncio.Future[Answer] | object") -> Answer:
    async with asyncio.timeout(20):
        return await asyncio.wrap_future(future)  # type: ignore[arg-type]


async def test_answers_are_the_engines(tmp_path: Path, bundle: Bundle, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        for message in (PREDICT, SCORE):
            (one, other) = link.submit([message, message])
            assert await answer_of(one) == await answer_of(other) == compute(bundle, message)


async def test_the_real_engine(tmp_path: Path, bundle: Bundle) -> None:
    metrics = Metrics(bundle.config.n_clusters)
    engine = Engine(bundle, Settings(), metrics)
    async with linked(tmp_path, engine, metrics=metrics) as link:
        late = time.monotonic() + 30
        messages = [Predict(f"{i}", tuple(range(i)), 5, None, late) for i in range(36)]
        for how in ({"exclude": (3, 1)}, {"words_only": True}, {"prefix": "BA", "ignore_case": True}, {}):
            message = Predict("", (7,), 5, None, late, exclude=(2, 9))
            messages.append(dataclasses.replace(message, **how))  # type: ignore[arg-type]
        futures = link.submit(messages)
        for message, future in zip(messages, futures, strict=True):
            answer, expected = await answer_of(future), compute(bundle, message)
            assert answer.ids == expected.ids  # type: ignore[union-attr]
            assert_same(list(answer.logprobs), list(expected.logprobs))
        samples = {sample.name: sample.value for sample in await answer_of(link.remote.samples())}  # type: ignore[attr-defined]
        assert samples["headfirst_cluster_rows_total"] == 40
        assert samples["headfirst_engine_ready"] == 1


async def test_from_many_threads(tmp_path: Path, bundle: Bundle, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:

        def ask(first: int) -> None:
            for word in range(first, first + 10):
                message = Predict("", (word,), 2, None, None)
                (future,) = link.submit([message])
                assert future.result(20) == compute(bundle, message)

        await asyncio.gather(*(asyncio.to_thread(ask, 10 * n) for n in range(8)))


async def test_not_ready_before_the_engine_is(tmp_path: Path, fake: Startable) -> None:
    async with linked(tmp_path) as link:
        assert link.remote.state == "starting"
        with pytest.raises(NotReady, match="starting") as refused:
            link.submit([PREDICT])
        assert refused.value.retry_after is not None
        with pytest.raises(NotReady):
            await answer_of(link.remote.samples())
        link.start(fake)
        await link.until("ready")
        assert link.remote.reason == ""


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (QueueFull(retry_after=7), QueueFull),
        (TooLarge("Too many."), TooLarge),
        (Draining(), Draining),
        (ValueError("a fault"), InternalError),
    ],
)
async def test_a_refused_group(
    tmp_path: Path, fake: Startable, refusal: Exception, expected: type[HeadfirstError]
) -> None:
    async with linked(tmp_path, fake) as link:
        fake.refusal = refusal
        futures = link.submit([PREDICT, PREDICT])
        for future in futures:
            with pytest.raises(expected) as refused:
                await answer_of(future)
            assert refused.value.retry_after == getattr(refusal, "retry_after", None)


async def test_a_message_that_fails_fails_alone(tmp_path: Path, bundle: Bundle, fake: Startable) -> None:
    def answer(message: Predict | Score) -> Answer:
        if message.id == "late":
            raise DeadlineExceeded
        return compute(bundle, message)

    fake.answer = answer
    async with linked(tmp_path, fake) as link:
        late, good = link.submit([Predict("late", (), 1, None, 1.5), PREDICT])
        with pytest.raises(DeadlineExceeded):
            await answer_of(late)
        assert await answer_of(good) == compute(bundle, PREDICT)
        assert fake.submitted[0].deadline == 1.5


async def test_cancelling_travels(tmp_path: Path, bundle: Bundle, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        fake.hold.clear()
        one, other = link.submit([PREDICT, PREDICT])
        await wait_for(lambda: bool(fake.futures))
        assert one.cancel()
        await wait_for(fake.futures[0].cancelled)
        fake.hold.set()
        assert await answer_of(other) == compute(bundle, PREDICT)
        assert not fake.futures[1].cancelled()


async def test_a_worker_that_goes_cancels_what_it_asked(tmp_path: Path, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        fake.hold.clear()
        (future,) = link.submit([PREDICT])
        await wait_for(lambda: bool(fake.futures))
        link.remote.drain(0)
        link.remote.stop()
        with pytest.raises(Draining):
            await answer_of(future)
        await wait_for(fake.futures[0].cancelled)
        with pytest.raises(HeadfirstError):
            link.submit([PREDICT])
        fake.hold.set()


async def test_when_the_engine_dies_nobody_waits(tmp_path: Path, bundle: Bundle, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        fake.hold.clear()
        futures = link.submit([PREDICT] * 5)
        await wait_for(lambda: bool(fake.futures))
        await link.kill()  # Only when the connections are gone, the double goes on.
        for future in futures:
            with pytest.raises(NotReady, match="restarted") as failed:
                await answer_of(future)
            assert failed.value.retry_after is not None
        assert link.remote.state == "starting"
        with pytest.raises(NotReady, match="restarted"):
            link.submit([PREDICT])
        # The next engine gets nothing of the old one's, and the connection that waits for it.
        again = Startable(lambda message: compute(bundle, message))
        link.start(again)
        await link.until("ready")
        assert again.submitted == []
        (future,) = link.submit([PREDICT])
        assert await answer_of(future) == compute(bundle, PREDICT)


async def test_the_engine_ends_after_its_workers(tmp_path: Path, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        (future,) = link.submit([PREDICT])
        assert link.server is not None
        link.server.stop()
        await answer_of(future)
        (future,) = link.submit([PREDICT])
        await answer_of(future)
        link.remote.drain(0)
        link.remote.stop()
        assert await link.end()


async def test_an_engine_that_dies_ends_its_process_at_once(
    tmp_path: Path, fake: Startable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.link.engine_server.WATCH_SECONDS", 1000)
    async with linked(tmp_path, fake) as link:
        await asyncio.to_thread(setattr, fake, "state", "dead")
        assert not await link.end()
        await link.until("starting")


async def test_what_is_no_message_ends_the_connection(
    tmp_path: Path, fake: Startable, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(tmp_path, fake) as link:
        reader, writer = await asyncio.open_unix_connection(link.path)
        writer.write((3).to_bytes(4, "little") + b"\x91\x63\x00")
        async with asyncio.timeout(20):
            told, state = wire.Splitter().feed(await reader.read())
            assert isinstance(wire.decode_reply(told), wire.Models)
            assert wire.decode_reply(state) == wire.State("ready", "")
        writer.close()
        assert "something else than a message" in caplog.text
        (future,) = link.submit([PREDICT])
        await answer_of(future)


async def test_a_reload_gives_new_requests_the_new_engine(tmp_path: Path, fake: Startable) -> None:
    """The old one goes on for those who began with it, until they are done."""
    async with linked(tmp_path, fake) as link:
        link.asking.held = asyncio.Event()
        (before,) = link.asking.models
        again = Startable(fake.answer)
        link.next_engine = again
        (reloaded,) = await link.remote.reload(["tiny"])
        assert (reloaded.model, reloaded.old) == ("tiny", reloaded.new)
        (after,) = link.asking.models
        assert after is not before
        await answer_of(after.submit([PREDICT])[0])
        await answer_of(before.submit([SCORE])[0])
        assert (again.submitted, fake.submitted) == ([PREDICT], [SCORE])
        assert fake.state == "ready"
        link.asking.held.set()
        await wait_for(lambda: fake.state == "stopped")
        assert link.server is not None
        await wait_for(lambda: len(link.server.engines) == 1)  # type: ignore[union-attr]
        with pytest.raises(NotReady, match="no such engine"):
            await answer_of(before.submit([SCORE])[0])


@pytest.mark.parametrize(("names", "error"), [(["other"], ModelNotFound), (None, ReloadFailed)])
async def test_why_there_was_no_reload(
    tmp_path: Path, fake: Startable, names: list[str] | None, error: type[HeadfirstError]
) -> None:
    async with linked(tmp_path, fake) as link:
        (tmp_path / "bundle" / "tiny" / "config.json").unlink()
        with pytest.raises(error):
            await link.remote.reload(names)
        await answer_of(link.submit([PREDICT])[0])


async def test_a_reload_of_an_engine_that_ends_is_not_waited_for(tmp_path: Path, fake: Startable) -> None:
    async with linked(tmp_path, fake) as link:
        link.next_engine = again = Startable(fake.answer)
        again.start = lambda: setattr(again, "state", "starting")  # type: ignore[method-assign]
        reload = asyncio.create_task(link.remote.reload(None))
        await wait_for(lambda: again.state == "starting")
        await link.kill()
        with pytest.raises(NotReady):
            await reload
        with pytest.raises(NotReady):
            await link.remote.reload(None)


async def test_a_worker_that_cannot_follow_ends(tmp_path: Path, fake: Startable) -> None:
    async with linked(tmp_path) as link:
        link.asking.fault = BundleError("the vocabulary is gone")
        link.start(fake)
        async with asyncio.timeout(20):
            with pytest.raises(BundleError, match="gone"):
                await link.running
        assert link.remote.state == "starting"
