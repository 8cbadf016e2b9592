"""The models of this process and their engines: started, loaded again, watched, ended.

A reload loads the new bundles beside the old ones and warms their engines. Only then do new requests switch
to them, all at once; an old engine ends when the last request has been answered that began with it. So no
request fails, and a bundle that cannot be served changes nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from models.bundle import Bundle, BundleError
from service.contract.changes import Changes
from service.contract.engine import OwnEngine, StatusOf, Users
from service.contract.errors import Draining, HeadfirstError, ReloadFailed, ReloadRunning
from service.contract.messages import Reloaded
from service.engine.engine import Engine
from service.fleet.loading import Examples, LoadedModel, check_cache, load
from service.fleet.memory import give_back_memory
from service.fleet.served import Catalog, Served
from service.metrics.registry import Metrics
from service.settings.settings import Settings

logger = logging.getLogger("headfirst")

MakeEngine = Callable[[Bundle, Settings, Metrics], OwnEngine]


class Fleet(StatusOf):
    """Used on the event loop's thread, but before the loop runs. Its status is the worst of its models'.

    Args:
        settings: of the server; the memory for cached states is divided evenly.
        metrics: of all engines.
        loaded: at least one model, the first being that of requests which name none.
        describe, copies: as in `load`.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        loaded: Sequence[LoadedModel],
        describe: Callable[[Bundle], Examples],
        copies: Path | None = None,
        make_engine: MakeEngine = Engine,
    ) -> None:
        self._models = len(loaded)
        share = settings.state_cache_bytes // self._models
        self._settings = settings.model_copy(update={"state_cache_bytes": share})
        self._metrics = metrics
        self._describe = describe
        self._copies = copies
        self._make_engine = make_engine
        self._engines: list[OwnEngine] = []
        self._reloading = False
        self._retiring: asyncio.Task[None] | None = None
        self._ending = False
        self.changes = Changes()
        """Announces each change of an engine's state."""
        self.catalog = Catalog([self._add(each) for each in loaded])
        super().__init__(self.catalog)

    def _add(self, loaded: LoadedModel) -> Served:
        check_cache(loaded.bundle, self._settings, self._models)
        engine = self._make_engine(loaded.bundle, self._settings, self._metrics)
        engine.changes.forward(self.changes)
        self._engines.append(engine)
        return Served(loaded.bundle, engine, loaded.card, loaded.examples, loaded.vocabulary)

    # -- as one engine ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all engines; returns at once."""
        for engine in self._engines:
            engine.start()

    def drain(self, timeout: float) -> bool:
        """Accepts nothing more; whether all that was accepted is answered within `timeout` seconds."""
        self._ending = True
        end = time.monotonic() + timeout
        drained = [engine.drain(max(0.0, end - time.monotonic())) for engine in list(self._engines)]
        return all(drained)

    def stop(self) -> None:
        """Stops all engines; open messages fail with NotReady."""
        self._ending = True
        for engine in list(self._engines):
            engine.stop()

    def check(self) -> None:
        """Gives up each engine whose batch takes longer than it may."""
        for engine in self._engines:
            if engine.state != "dead" and engine.stalled > self._settings.engine_timeout:
                engine.fail(f"its batch made no progress for {self._settings.engine_timeout:g} s")

    # -- loading again ----------------------------------------------------------------------------------

    async def reload(self, names: Sequence[str] | None, users: Users[Served]) -> list[Reloaded]:
        """Loads the models of these names, or all, from where they were loaded first: all of them or none.

        It runs to its end even if its caller has left. There are never more than two engines of a
        model: the next reload begins when the old ones of the last have ended.

        Raises:
            ModelNotFound: one of the names is not served.
            ReloadRunning: one runs already.
            ReloadFailed: a bundle cannot be served; the message is one line that names the fault.
            Draining: the server is about to exit.
        """
        old = list(self.catalog) if names is None else [self.catalog.get(name) for name in names]
        if self._ending:
            raise Draining
        if self._reloading:
            raise ReloadRunning
        self._reloading = True
        reload = asyncio.get_running_loop().create_task(self._reload(old, users))
        # A failure is logged; after its caller has left, asyncio would report it once more.
        reload.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(reload)

    async def _reload(self, old: list[Served], users: Users[Served]) -> list[Reloaded]:
        started = time.monotonic()
        try:
            if self._retiring is not None:
                await self._retiring
            new = await self._prepare(old)
            self.catalog.switch(new)
            await users.switch(new)
            self._retiring = asyncio.get_running_loop().create_task(self._retire(old, users))
        except Exception as error:
            self._metrics.model_reloads_total.labels("failure").inc()
            known = isinstance(error, BundleError | HeadfirstError)
            line = " ".join(str(error).split()) if known else f"{type(error).__name__} while loading"
            logger.error(f"reload failed, what was served goes on: {line}", exc_info=None if known else error)
            if isinstance(error, HeadfirstError):
                raise
            raise ReloadFailed(line) from error
        finally:
            self._reloading = False
        self._metrics.model_reloads_total.labels("success").inc(len(new))
        results = [
            Reloaded(one.name, one.card.digest or "", other.card.digest or "")
            for one, other in zip(old, new, strict=True)
        ]
        for each in results:
            fields: dict[str, Any] = {"model": each.model, "old": each.old, "new": each.new}
            fields["seconds"] = round(time.monotonic() - started, 3)
            logger.info("reloaded a model", extra={"fields": fields})
        return results

    async def _prepare(self, old: list[Served]) -> list[Served]:
        """Loads and warms what is at their paths now; leaves nothing behind if that fails."""
        sources = {source.name: source for source in self._settings.sources}
        new: list[Served] = []
        engines: list[OwnEngine] = []
        try:
            for each in old:
                loaded = await asyncio.to_thread(
                    load, sources[each.name], self._settings, self._describe, self._copies
                )
                new.append(self._add(loaded))
                engines.append(self._engines[-1])
                engines[-1].start()
            for engine in engines:
                await engine.changes.until(lambda: engine.state != "starting")  # noqa: B023 -- awaited here
                if engine.state != "ready":
                    raise Draining if self._ending else ReloadFailed(f"The new engine is {engine.reason}.")
        except BaseException:
            await self._end(engines)
            raise
        return new

    async def _retire(self, old: list[Served], users: Users[Served]) -> None:
        await users.finish()
        await self._end([engine for engine in self._engines if any(engine is each.engine for each in old)])
        old.clear()
        give_back_memory()

    async def _end(self, engines: Sequence[OwnEngine]) -> None:
        for engine in engines:
            await asyncio.to_thread(engine.stop)
            self._engines.remove(engine)


async def reload_on_hangup(reload: Callable[[None], Awaitable[object]]) -> None:
    """Loads all models again, as SIGHUP asks for; after a fault, what was served goes on."""
    logger.info("reloading all models", extra={"fields": {"signal": "SIGHUP"}})
    try:
        await reload(None)
    except HeadfirstError as error:  # The fleet has logged what was wrong with a bundle.
        logger.warning(f"no model was reloaded: {error.message}")
