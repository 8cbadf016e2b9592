"""Clients that ask a server all the time, each in a thread of its own."""

from __future__ import annotations

import concurrent.futures
import http.client
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.http import BODY
from tests.support.server_process import until

Request = tuple[str, str]
"""Path and body of a POST."""

PREDICT: Request = ("/v1/predict", BODY)
SCORE: Request = (
    "/v1/score",
    json.dumps({"inputs": ["Thank you very much . " * 10, "you"], "per_word": False}),
)


@dataclass(frozen=True)
class Answer:
    """One answer as a client saw it; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes


class Load:
    """Clients that ask until `end`; each asks at least once, and keeps its connection if `keep_alive`.

    With `until_refused` a client leaves earlier: at the first answer other than 200 or the first connection
    error. A client starts at a request of its own and repeats `requests` in their order.
    """

    def __init__(
        self,
        url: str,
        clients: int,
        requests: Sequence[Request] = (PREDICT,),
        headers: dict[str, str] | None = None,
        keep_alive: bool = True,
        until_refused: bool = False,
    ) -> None:
        self.answers: list[Answer] = []
        self.unsent: list[ConnectionError] = []
        """Errors before a request was sent whole: the server accepted nothing."""
        self.broken: list[ConnectionError] = []
        """Errors between a request and the end of its answer."""
        self._host = url.removeprefix("http://")
        self._requests = list(requests)
        self._headers = headers or {}
        self._keep_alive = keep_alive
        self._until_refused = until_refused
        self._ended = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(clients)
        self._running = [self._pool.submit(self._client, number) for number in range(clients)]

    @property
    def statuses(self) -> list[int]:
        """The status of each answer so far."""
        return [answer.status for answer in self.answers]

    def _client(self, number: int) -> None:
        first = number % len(self._requests)
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            for request in itertools.cycle(self._requests[first:] + self._requests[:first]):
                answered = self._ask(connection, request)
                if self._ended.is_set() or (self._until_refused and not answered):
                    return
                if not (self._keep_alive and answered):
                    connection.close()
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, request: Request) -> bool:
        """Whether the answer is 200."""
        path, body = request
        try:
            connection.request("POST", path, body, self._headers)
        except ConnectionError as error:
            self.unsent.append(error)
            return False
        try:
            response = connection.getresponse()
            content = response.read()
        except ConnectionError as error:
            self.broken.append(error)
            return False
        headers = {name.lower(): value for name, value in response.getheaders()}
        self.answers.append(Answer(response.status, headers, content))
        return response.status == 200

    def wait(self, wanted: Callable[[Answer], bool], count: int = 20) -> None:
        """Returns after `count` more answers that are `wanted`; fails if a client has failed meanwhile."""
        seen, found = len(self.answers), 0

        def enough() -> bool:
            nonlocal seen, found
            for future in self._running:
                if future.done():
                    future.result()
            new = self.answers[seen:]
            seen, found = seen + len(new), found + sum(map(wanted, new))
            return found >= count

        until(enough)

    def wait_status(self, status: int, count: int = 20) -> None:
        """Returns after `count` more answers of this status."""
        self.wait(lambda answer: answer.status == status, count)

    def join(self) -> None:
        """Returns when each client has left, and raises what a client failed with."""
        for future in self._running:
            future.result(40)
        self._pool.shutdown()

    def end(self) -> None:
        """Tells the clients to leave after their present request, and joins them."""
        self._ended.set()
        self.join()


@contextmanager
def load(url: str, clients: int, **options: object) -> Iterator[Load]:
    """A `Load` that ends with the context."""
    running = Load(url, clients, **options)  # type: ignore[arg-type]
    try:
        yield running
    finally:
        running.end()
