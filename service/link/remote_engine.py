"""What a request in an HTTP worker has for an engine: one of those in the engine process."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from service.contract.engine import Status, StatusOf
from service.contract.messages import Answer, Message


class RemoteEngine(StatusOf):
    """One engine of the engine process, as one connection announced it.

    Args:
        process: the engine process's status, which all its engines share.
        submit: sends messages to this engine, on that connection; raises NotReady where it has ended.
    """

    def __init__(self, process: Status, submit: Callable[[Sequence[Message]], list[Future[Answer]]]) -> None:
        super().__init__(process)
        self.submit = submit
        """As `contract.engine.Engine.submit`, but `QueueFull` and `TooLarge` come to all futures at once."""
