"""What the routes share: the served models with their engines, the limits."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from service.contract.errors import Draining, HeadfirstError, InvalidRequest, NotReady
from service.contract.messages import Reloaded
from service.fleet.served import Catalog, Served
from service.http.edge.lifecycle import Lifecycle
from service.http.request.parsing import place
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
    metrics: Metrics
    lifecycle: Lifecycle
    reload: Reload | None = None
    reload_instead: str | None = None
    """Where models cannot be loaded again in place: a sentence on what to do instead."""
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "worker"))

    def model_for(self, name: str | None) -> Served:
        """The model that a request asks for, to be kept until it is answered; None means the first.

        Only for a request that is counted by the lifecycle: an engine that was replaced lives as long as
        those which began before.

        Raises:
            ModelNotFound: there is none of this name.
        """
        return self.models.get(name)

    async def switch(self, models: Sequence[Served]) -> None:
        """New requests get these models from now on, in the place of those of the same names."""
        self.models.switch(models)
        self.metrics.describe_models(served.card for served in self.models)

    async def finish(self) -> None:
        """Returns when no request waits any more for a model that a `switch` took away."""
        # Past its deadline none does, however slowly its client reads the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.max_request_timeout):
                await self.lifecycle.wait_earlier()

    def fast(self, mode: Literal["exact", "fast"] | None) -> bool:
        """Whether a request that names this mode, or none, may be answered in the fast one."""
        return (self.settings.mode if mode is None else mode) == "fast"

    def check_inputs(self, inputs: Sequence[str], single: bool) -> None:
        """Raises InvalidRequest for no input, for too many and for one of too many characters."""
        if not inputs:
            raise InvalidRequest("inputs must not be empty.", param="inputs", code="empty")
        if len(inputs) > self.settings.max_inputs:
            message = f"inputs must be at most {self.settings.max_inputs} texts."
            raise InvalidRequest(message, param="inputs", code="too_many_inputs")
        for index, text in enumerate(inputs):
            self.check_chars(text, place(index, single))

    def check_chars(self, text: str, param: str) -> None:
        """Raises InvalidRequest for a text of too many characters."""
        limit = self.settings.max_input_chars
        if len(text) > limit:
            message = f"{param} must have at most {limit} characters."
            raise InvalidRequest(message, param=param, code="too_many_characters")

    def check_words(self, count: int, param: str) -> None:
        """Raises InvalidRequest for a text of too many words."""
        limit = self.settings.max_input_words
        if count > limit:
            message = f"{param} must have at most {limit} words."
            raise InvalidRequest(message, param=param, code="too_many_words")

    def check_k(self, k: int, param: str) -> None:
        """Raises InvalidRequest for more words than may be asked for."""
        if k > self.settings.max_k:
            raise InvalidRequest(f"k must be at most {self.settings.max_k}.", param=param)

    async def in_worker(self, work: Callable[[], T]) -> T:
        """Runs `work` in a thread, so that the event loop serves others meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    def check_live(self) -> None:
        """Raises NotReady if an engine is dead, so that only a restart can help."""
        if self.models.state == "dead":
            raise NotReady(f"The engine is dead: {self.models.reason}.", code="engine_dead")

    def check_ready(self) -> None:
        """Raises what `unready` says."""
        error = self.unready()
        if error is not None:
            raise error

    def unready(self) -> HeadfirstError | None:
        """Why the server does not accept requests to every model now, or None if it does."""
        state = self.models.state
        if self.lifecycle.draining or state == "draining":
            return Draining()
        if state == "ready":
            return None
        code = "engine_dead" if state == "dead" else "loading"
        return NotReady(f"The model is not ready: {self.models.reason}.", code=code)
