"""The models that requests can ask: vocabulary and engine of each, by name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from service.contract.engine import Engine, State
from service.contract.errors import ModelNotFound
from service.contract.model_card import ModelCard

_WORST_FIRST: tuple[State, ...] = ("dead", "draining", "starting")


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model as of one loading: what a request tokenizes with, and the engine that knows these tokens.

    A request takes one of these and keeps it to its end, whatever is loaded meanwhile.

    Args:
        bundle: without weights in an HTTP worker.
        examples: the model's own answers for the OpenAPI page, by path.
        vocabulary: a folder with copies of what HTTP workers read of the bundle, which stay as they are.
    """

    bundle: Bundle
    engine: Engine
    card: ModelCard
    examples: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    vocabulary: Path | None = None

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.bundle.name


class Catalog:
    """Name -> the model that is served under it now. Used on the event loop's thread.

    Args:
        models: at least one, in the order of /v1/models; the first is that of requests which name none.
    """

    def __init__(self, models: Iterable[Served]) -> None:
        self._models = {served.name: served for served in models}
        self._first = next(iter(self._models))

    def __iter__(self) -> Iterator[Served]:
        return iter(self._models.values())

    @property
    def first(self) -> Served:
        """The model of requests which name none."""
        return self._models[self._first]

    def get(self, name: str | None) -> Served:
        """The model of this name. Raises ModelNotFound."""
        try:
            return self._models[self._first if name is None else name]
        except KeyError:
            raise ModelNotFound from None

    def switch(self, models: Iterable[Served]) -> None:
        """New requests get these from now on, in the place of those of the same names."""
        self._models |= {served.name: served for served in models}

    @property
    def state(self) -> State:
        """The worst of all: ready if every model is."""
        return self._worst()[0]

    @property
    def reason(self) -> str:
        """Why not every model is ready; empty when they are."""
        return self._worst()[1]

    def _worst(self) -> tuple[State, str]:
        engines = [(served.name, served.engine) for served in self]
        for state in _WORST_FIRST:
            for name, engine in engines:
                if engine.state == state:
                    return state, engine.reason if len(engines) == 1 else f"{name}: {engine.reason}"
        return "ready", ""
