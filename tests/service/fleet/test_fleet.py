"""Engines of a process: loaded again, given up when they hang, ended. Most of them are doubles."""

import asyncio
import gc
import logging
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from models.bundle import Bundle
from service.contract.errors import Draining, ModelNotFound, ReloadFailed, ReloadRunning
from service.contract.messages import Reloaded
from service.engine.engine import Engine
from service.fleet import fleet as fleet_module
from service.fleet.fleet import Fleet
from service.fleet.loading import LoadedModel, load
from service.fleet.served import Served
from service.http.api.examples import describe
from service.metrics.registry import Metrics
from service.settings.model_sources import ModelSource
from service.settings.settings import Settings
from tests.support.asgi import wait_for
from tests.support.engines import FakeEngine, compute
from tests.support.spy import predict

pytestmark = pytest.mark.anyio


class Double(FakeEngine):
    """With what a fleet does to it."""

    def __init__(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> None:
        super().__init__(lambda message: compute(bundle, message))
        self.settings = settings
        self.state = "starting"
        self.stalled = 0.0
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")
        self.state = "ready"

    def fail(self, reason: str) -> None:
        self.state, self.reason = "dead", reason

    def drain(self, timeout: float) -> bool:
        self.calls.append("drain")
        return timeout > 0

    def stop(self) -> None:
        self.calls.append("stop")
        self.state = "dead"
        self.close()


class Asking:
    """Requests that end when the test says so."""

    def __init__(self) -> None:
        self.switched: list[list[Served]] = []
        self.done = asyncio.Event()
        self.done.set()

    async def switch(self, models: Sequence[Served]) -> None:
        self.switched.append(list(models))

    async def finish(self) -> None:
        await self.done.wait()


class Two:
    """A fleet of two models."""

    def __init__(self, bundle_path: Path, directory: Path, **settings: object) -> None:
        self.paths = [directory / name for name in ("one", "two")]
        for path in self.paths:
            shutil.copytree(bundle_path, path)
        self.metrics = Metrics()
        models = tuple(f"{path.name}={path}" for path in self.paths)
        self.settings = Settings(model=models, device="cpu", **settings)  # type: ignore[arg-type]
        self.engines: list[Double] = []
        loaded = [load(source, self.settings, describe) for source in self.settings.sources]
        self.fleet = Fleet(self.settings, self.metrics, loaded, describe, make_engine=self._make)  # type: ignore[arg-type]
        self.asking = Asking()
        self.fleet.start()

    def _make(self, bundle: Bundle, settings: Settings, metrics: Metrics) -> Double:
        self.engines.append(Double(bundle, settings, metrics))
        return self.engines[-1]

    async def reload(self, *names: str) -> list[Reloaded]:
        async with asyncio.timeout(20):
            return await self.fleet.reload(names or None, self.asking)

    def reloads(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("headfirst_model_reloads_total", {"result": result})


@pytest.fixture
async def two(bundle_path: Path, tmp_path: Path) -> AsyncIterator[Two]:
    made = Two(bundle_path, tmp_path, state_cache_bytes=1001)
    yield made
    made.asking.done.set()
    made.fleet.stop()


def change(path: Path) -> None:
    """Another bundle, that can be served."""
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config + "\n")


async def test_models_share_the_memory_for_states(two: Two) -> None:
    assert [engine.settings.state_cache_bytes for engine in two.engines] == [500, 500]
    assert [served.name for served in two.fleet.catalog] == ["one", "two"]
    assert two.fleet.catalog.get(None) is two.fleet.catalog.get("one") is two.fleet.catalog.first


async def test_ready_when_every_model_is(two: Two) -> None:
    assert (two.fleet.state, two.fleet.reason) == ("ready", "")
    two.engines[1].state, two.engines[1].reason = "starting", "the model is warming up"
    assert (two.fleet.state, two.fleet.reason) == ("starting", "two: the model is warming up")
    two.engines[0].state, two.engines[0].reason = "dead", "broken"
    assert (two.fleet.state, two.fleet.reason) == ("dead", "one: broken")


async def test_all_models_or_one(two: Two) -> None:
    before = {served.name: served for served in two.fleet.catalog}
    change(two.paths[1])
    one, other = await two.reload()
    assert (one.model, one.old) == ("one", one.new)
    assert (other.model, other.old == other.new) == ("two", False)
    assert [served.name for served in two.asking.switched[0]] == ["one", "two"]
    await wait_for(lambda: [engine.calls for engine in two.engines[:2]] == [["start", "stop"]] * 2)
    (again,) = await two.reload("two")
    assert again.old == again.new == other.new
    assert len(two.engines) == 5
    assert all(served is not before[served.name] for served in two.fleet.catalog)
    assert (two.reloads("success"), two.reloads("failure")) == (3, 0)


async def test_an_old_engine_answers_those_who_began_with_it(two: Two) -> None:
    two.asking.done.clear()
    old = two.fleet.catalog.first
    await two.reload("one")
    assert two.fleet.catalog.first is not old
    assert two.engines[0].calls == ["start"]
    (future,) = old.engine.submit([predict([5])])
    assert future.result(20) == compute(old.bundle, predict([5]))
    two.asking.done.set()
    await wait_for(lambda: two.engines[0].calls == ["start", "stop"])


async def test_the_next_reload_waits_for_the_old_engines_end(two: Two) -> None:
    two.asking.done.clear()
    await two.reload("one")
    second = asyncio.create_task(two.reload("one"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(two.engines) == 3
    with pytest.raises(ReloadRunning):
        await two.reload("two")
    two.asking.done.set()
    await second
    assert len(two.engines) == 4


async def test_one_reload_at_a_time(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(fleet_module, "load", held(go_on))
    first = asyncio.create_task(two.reload())
    await asyncio.sleep(0)
    with pytest.raises(ReloadRunning):
        await two.reload("two")
    # Whoever asked may leave: it runs to its end.
    first.cancel()
    go_on.set()
    await wait_for(lambda: two.reloads("success") == 2)
    await two.reload()


def held(go_on: threading.Event) -> Callable[..., LoadedModel]:
    def load_when_told(source: ModelSource, settings: Settings, *arguments: object) -> LoadedModel:
        assert go_on.wait(20)
        return load(source, settings, *arguments)  # type: ignore[arg-type]

    return load_when_told


async def test_a_name_that_is_not_served(two: Two) -> None:
    with pytest.raises(ModelNotFound):
        await two.reload("three")
    assert two.reloads("failure") == 0


async def test_one_broken_bundle_keeps_all(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    before = list(two.fleet.catalog)
    change(two.paths[0])
    (two.paths[1] / "tokenizer.json").unlink()
    with pytest.raises(ReloadFailed, match=r"two: tokenizer\.json is missing"):
        await two.reload()
    assert list(two.fleet.catalog) == before
    assert [engine.calls for engine in two.engines] == [["start"], ["start"], ["start", "stop"]]
    assert (two.reloads("success"), two.reloads("failure")) == (0, 1)
    (line,) = [line for line in caplog.messages if "reload failed" in line]
    assert "what was served goes on" in line
    assert "tokenizer.json is missing" in line


async def test_a_fault_of_ours_tells_no_more_than_its_kind(
    two: Two, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> LoadedModel:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(fleet_module, "load", fail)
    with pytest.raises(ReloadFailed, match="RuntimeError while loading"):
        await two.reload()
    assert "CUDA out of memory" in caplog.text
    assert two.fleet.state == "ready"


async def test_an_engine_that_dies_while_it_warms_up(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(engine: Double) -> None:
        engine.state, engine.reason = "dead", "it died of ValueError"

    monkeypatch.setattr(Double, "start", die)
    with pytest.raises(ReloadFailed, match="it died of ValueError"):
        await two.reload("one")
    assert two.fleet.state == "ready"
    assert two.engines[2].calls == ["stop"]


async def test_no_reload_while_ending(two: Two) -> None:
    assert two.fleet.drain(5)
    with pytest.raises(Draining):
        await two.reload()


async def test_a_change_of_any_engine_is_announced(two: Two) -> None:
    dead = asyncio.create_task(two.fleet.changes.until(lambda: two.fleet.state == "dead"))
    await asyncio.sleep(0)
    await asyncio.to_thread(two.engines[1].fail, "it hangs")
    async with asyncio.timeout(20):
        await dead
    await two.reload("two")
    ready = [served.engine for served in two.fleet.catalog if served.engine.state == "ready"]
    assert ready == [two.engines[0], two.engines[2]]
    drained = asyncio.create_task(two.fleet.changes.until(lambda: two.fleet.state == "draining"))
    await asyncio.sleep(0)
    await asyncio.to_thread(setattr, two.engines[2], "state", "draining")
    async with asyncio.timeout(20):
        await drained


async def test_an_engine_that_hangs_is_given_up(two: Two) -> None:
    two.engines[0].stalled = 119.0
    two.fleet.check()
    assert two.fleet.state == "ready"
    two.engines[0].stalled = 121.0
    two.fleet.check()
    assert (two.fleet.state, two.fleet.reason) == ("dead", "one: its batch made no progress for 120 s")
    two.engines[0].reason = ""
    two.fleet.check()  # Once is enough.
    assert two.engines[0].reason == ""


def ours() -> list[str]:
    """Names of the threads that engines started."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("headfirst-"))


async def test_a_replaced_model_leaves_nothing_behind(
    bundle_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With real engines: their threads end, and model and states are freed."""
    # A kernel's warning has an exception, which pytest would keep, and with it the frames of loading.
    caplog.set_level(logging.ERROR, "models")
    settings = Settings(model=(f"tiny={bundle_path}",), device="cpu")
    metrics = Metrics()
    fleet = Fleet(settings, metrics, [load(settings.sources[0], settings, describe)], describe)
    fleet.start()
    try:
        await wait_for(lambda: fleet.state == "ready")
        threads = len(fleet.catalog.first.engine._threads)  # type: ignore[attr-defined]
        await wait_for(lambda: len(ours()) == threads)
        old = fleet.catalog.first
        (future,) = old.engine.submit([predict([5, 9])])
        await asyncio.wrap_future(future)  # type: ignore[arg-type]
        assert metrics.registry.get_sample_value("headfirst_state_cache_bytes")
        freed = [weakref.ref(each) for each in (old.engine, old.bundle.model, old.bundle.vocabulary)]
        engine = old.engine
        assert isinstance(engine, Engine)
        del old, engine, future
        for _ in range(3):
            await fleet.reload(None, Asking())
        await wait_for(lambda: gc.collect() >= 0 and not any(each() for each in freed))
        await wait_for(lambda: len(ours()) == threads)
        assert metrics.registry.get_sample_value("headfirst_state_cache_bytes") == 0
        assert metrics.registry.get_sample_value("headfirst_engine_ready") == 1
    finally:
        fleet.stop()
