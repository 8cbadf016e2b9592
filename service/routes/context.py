"""What the routes share: the served model, its engine, the limits."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from models.bundle import Bundle
from service.errors import Draining, HeadfirstError, InvalidRequest, ModelNotFound, NotReady
from service.lifecycle import Lifecycle
from service.messages import Predict, Predicted, Score, Scored
from service.metrics import Metrics
from service.schemas import ModelCard, place
from service.settings import Settings

T = TypeVar("T")


class Engine(Protocol):
    """As much of `service.engine.Engine` as HTTP uses."""

    @property
    def state(self) -> Literal["starting", "ready", "draining", "dead"]:
        """Whether it accepts messages, and if not, whether it ever will."""

    @property
    def reason(self) -> str:
        """Why it is not ready; for a person."""

    def submit(self, messages: Sequence[Predict | Score]) -> Sequence[Future[Predicted | Scored]]:
        """Accepts all messages or none; raises QueueFull, NotReady, Draining or TooLarge."""


@dataclass
class Context:
    """One for each app."""

    settings: Settings
    bundle: Bundle
    engine: Engine
    metrics: Metrics
    lifecycle: Lifecycle
    card: ModelCard | None = None
    """What there is to tell about the model, where the model itself is in another process."""
    examples: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Answers for the OpenAPI page, by path, likewise."""
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "worker"))

    def check_model(self, name: str | None) -> None:
        """Raises ModelNotFound for any model but the one that is served."""
        if name is not None and name != self.bundle.name:
            raise ModelNotFound

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

    async def in_worker(self, work: Callable[[], T]) -> T:
        """Runs `work` in a thread, so that the event loop serves others meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    def unready(self) -> HeadfirstError | None:
        """Why the server does not accept requests to the model now, or None if it does."""
        if self.lifecycle.draining or self.engine.state == "draining":
            return Draining()
        if self.engine.state == "ready":
            return None
        code = "engine_dead" if self.engine.state == "dead" else "loading"
        return NotReady(f"The model is not ready: {self.engine.reason}.", code=code)
