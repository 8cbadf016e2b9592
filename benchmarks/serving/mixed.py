"""What the clients of a mixed load ask: good requests, bad ones, hurried ones; and some leave."""

from __future__ import annotations

import json
import random
from typing import Final

from benchmarks.serving.texts import Texts

KINDS: Final = "good", "gone", "bad", "late"
WEIGHTS: Final = 80, 10, 5, 5
"""Of a hundred requests."""

ALLOWED: Final = {
    "good": {200, 429},
    "gone": {0},  # the client had left before the answer
    "bad": {400, 413, 422},
    "late": {200, 429, 504},
}
"""Statuses of each kind. 503 is deliberate, too, but never while the server is ready."""

BAD: Final = (
    b"{",
    b"[]",
    b"{}",
    b'{"inputs": []}',
    b'{"inputs": 5}',
    b'{"inputs": "a", "k": 0}',
    b'{"inputs": "a", "nothing": 1}',
    b'{"inputs": "a \\ud800"}',
    b'\xff{"inputs": "a"}',
)
MAX_LIST: Final = 6


class Mix:
    """One client's requests, in HTTP/1.1.

    Args:
        generator: of all that is left to chance.
    """

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._texts = Texts()
        self._typed: list[str] = []
        self._done = 0

    def kind(self) -> str:
        """What the next request is."""
        return self._generator.choices(KINDS, WEIGHTS)[0]

    def request(self, kind: str) -> bytes:
        """A request of that kind, whole."""
        choose = self._generator
        path = "/v1/predict" if choose.random() < 0.7 else "/v1/score"
        if kind == "bad":
            content = choose.choice(BAD)
        else:
            body = self._prediction() if path == "/v1/predict" else self._scoring()
            if kind == "late":
                body["timeout_ms"] = choose.randint(1, 5)
            content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    def cut(self, length: int) -> int:
        """How much of a request is sent by a client that leaves."""
        return length if self._generator.random() < 0.7 else self._generator.randrange(1, length)

    def patience(self) -> float:
        """Seconds that it waits before it leaves."""
        return self._generator.choice((0.0, 0.001, 0.01))

    def _text(self) -> str:
        return self._texts[self._generator.randrange(1_000_000)]

    def _prediction(self) -> dict[str, object]:
        choose = self._generator
        if choose.random() < 0.5:
            # A client that types: a word more than it asked last, now and then with the next one's beginning.
            if self._done == len(self._typed):
                self._typed, self._done = self._text().split(), 0
            self._done += 1
            body: dict[str, object] = {"inputs": " ".join(self._typed[: self._done])}
            return body | ({"prefix": choose.choice("abcdeist")} if choose.random() < 0.3 else {})
        texts = [self._text() for _ in range(choose.randint(1, MAX_LIST))]
        return {"inputs": texts, "k": choose.choice((1, 10, 50))}

    def _scoring(self) -> dict[str, object]:
        choose = self._generator
        texts = [self._text() for _ in range(choose.randint(1, MAX_LIST))]
        body: dict[str, object] = {"inputs": texts, "per_word": choose.random() < 0.5}
        return body | ({"context": self._text()} if choose.random() < 0.3 else {})
