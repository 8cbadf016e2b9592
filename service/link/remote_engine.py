"""What a request in an HTTP worker has for an engine: one of those in the engine process."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from service.contract.messages import Answer, Message
from service.fleet.served import State
from service.link.worker_end import WorkerEnd


class Process(Protocol):
    """As much of `EngineLink` as one of its models uses."""

    @property
    def state(self) -> State:
        """The engine process's."""

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""

    def submit(
        self, messages: Sequence[Message], connection: WorkerEnd | None, engine: int
    ) -> list[Future[Answer]]:
        """Sends all messages to one of the engines."""


class RemoteEngine:
    """One engine of the engine process, as it was told on a connection: what HTTP uses of an `Engine`."""

    def __init__(self, process: Process, connection: WorkerEnd | None, number: int) -> None:
        self._process = process
        self._connection = connection
        self._number = number

    @property
    def state(self) -> State:
        """The engine process's."""
        return self._process.state

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._process.reason

    def submit(self, messages: Sequence[Message]) -> list[Future[Answer]]:
        """As `EngineLink.submit`; NotReady also where the engine process has been restarted since."""
        return self._process.submit(messages, self._connection, self._number)
