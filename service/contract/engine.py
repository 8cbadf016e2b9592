"""The contract of an engine: what requests and its process ask of it, and a reload of its users."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Literal, Protocol, TypeVar

from service.contract.changes import Changes
from service.contract.messages import Answer, Message

T_contra = TypeVar("T_contra", contravariant=True)

State = Literal["starting", "ready", "draining", "dead"]
"""`starting` until the warm-up is done, `ready` until the server ends (`draining`) or the engine (`dead`)."""


class Status(Protocol):
    """Whether messages are accepted."""

    @property
    def state(self) -> State:
        """Only `ready` accepts messages; `dead` never will again."""

    @property
    def reason(self) -> str:
        """Why it is not ready, for a person; empty when it is."""


class StatusOf:
    """Has the status of something else: of the process that an engine is in, or of a catalog of models."""

    def __init__(self, status: Status) -> None:
        self._status = status

    @property
    def state(self) -> State:
        """See `Status`."""
        return self._status.state

    @property
    def reason(self) -> str:
        """See `Status`."""
        return self._status.reason


class Engine(Status, Protocol):
    """What a request has: an engine of its own process, or one at the other end of a socket."""

    def submit(self, messages: Sequence[Message]) -> Sequence[Future[Answer]]:
        """Accepts all messages or none. Their futures, in the same order, get the answers or a
        `HeadfirstError`.

        Raises:
            NotReady, Draining: nothing is accepted now.
            QueueFull: there is no room for all of them; `retry_after` says when there may be.
            TooLarge: there never will be.
        """


class Drainable(Protocol):
    """What the end of a server needs."""

    def drain(self, timeout: float) -> bool:
        """Accepts nothing more; whether all that was accepted is answered within `timeout` seconds."""

    def stop(self) -> None:
        """Ends; open messages fail with NotReady."""


class OwnEngine(Engine, Drainable, Protocol):
    """An engine as its own process has it: started, watched, measured, ended."""

    @property
    def changes(self) -> Changes:
        """Announces each change of `state`, after it."""

    @property
    def model(self) -> str:
        """The name under which its model is served."""

    @property
    def stalled(self) -> float:
        """Seconds since the oldest batch began that is being run; 0 while none is."""

    @property
    def queue_depth(self) -> int:
        """Messages that wait for their first batch."""

    @property
    def queue_tokens(self) -> int:
        """Tokens of all messages that are accepted and not answered."""

    @property
    def cache_bytes(self) -> int:
        """Memory held by cached states."""

    def start(self) -> None:
        """Starts the warm-up and returns at once."""

    def fail(self, reason: str) -> None:
        """Gives the engine up: it is dead, for this reason."""


class Users(Protocol[T_contra]):
    """The requests that ask the engines, as far as a reload has to do with them."""

    async def switch(self, models: Sequence[T_contra]) -> None:
        """Lets new requests ask these models from now on."""

    async def finish(self) -> None:
        """Returns when no request is left that asks what a `switch` took away."""
