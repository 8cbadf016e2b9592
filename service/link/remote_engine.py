"""What a request in an HTTP worker has for an engine: one of those in the engine process."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from service.contract.engine import State, Status
from service.contract.messages import Answer, Message


class RemoteEngine:
    """One engine of the engine process, as one connection announced it.

    Args:
        process: the engine process's status, which all its engines share.
        submit: sends messages to this engine, on that connection; raises NotReady where it has ended.
    """

    def __init__(self, process: Status, submit: Callable[[Sequence[Message]], list[Future[Answer]]]) -> None:
        self._process = process
        self.submit = submit
        """As `contract.engine.Engine.submit`, but `QueueFull` and `TooLarge` come to all futures at once."""

    @property
    def state(self) -> State:
        """The engine process's."""
        return self._process.state

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return self._process.reason
