"""What the routes share: the served models with their engines, the limits, the threads for long work."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from service.contract.errors import Draining, HeadfirstError, NotReady
from service.contract.messages import Reloaded
from service.fleet.served import Catalog, Served
from service.http.edge.admission import Admission
from service.http.request.limits import BodyBudget, Limits
from service.metrics.registry import Metrics
from service.settings.settings import Settings

T = TypeVar("T")

Reload = Callable[[Sequence[str] | None], Awaitable[Sequence[Reloaded]]]
"""Loads the models of these names, or all, again; raises as `Fleet.reload`, or NotReady."""


@dataclass
class Context:
    """One for each app."""

    settings: Settings
    models: Catalog
    """A model that is taken from here is kept until the request is answered, and only by requests that
    `admission` has counted: an engine that was replaced lives as long as those which began before."""
    metrics: Metrics
    admission: Admission
    reload: Reload | None = None
    reload_instead: str | None = None
    """Where models cannot be loaded again in place: a sentence on what to do instead."""
    limits: Limits = field(init=False)
    bodies: BodyBudget = field(init=False)
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "worker"))

    def __post_init__(self) -> None:
        self.limits = Limits.of(self.settings)
        self.bodies = BodyBudget(self.settings.max_waiting_body_bytes)

    async def switch(self, models: Sequence[Served]) -> None:
        """New requests get these models from now on, in the place of those of the same names."""
        self.models.switch(models)
        self.metrics.describe_models(served.card for served in self.models)

    async def finish(self) -> None:
        """Returns when no request waits any more for a model that a `switch` took away."""
        # Past its deadline none does, however slowly its client reads the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.max_request_timeout):
                await self.admission.wait_earlier()

    async def in_worker(self, work: Callable[[], T]) -> T:
        """Runs `work` in a thread, so that the event loop serves others meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    def check_live(self) -> None:
        """Raises NotReady if an engine is dead, so that only a restart can help."""
        if self.models.state == "dead":
            raise NotReady(f"The engine is dead: {self.models.reason}.", code="engine_dead")

    def check_ready(self) -> None:
        """Raises the error that `unready` returns, if any."""
        error = self.unready()
        if error is not None:
            raise error

    def unready(self) -> HeadfirstError | None:
        """Why the server does not accept requests to every model now, or None if it does."""
        state = self.models.state
        if self.admission.draining or state == "draining":
            return Draining()
        if state == "ready":
            return None
        code = "engine_dead" if state == "dead" else "loading"
        return NotReady(f"The model is not ready: {self.models.reason}.", code=code)
