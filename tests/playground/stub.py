"""A small server with the HTTP contract of the real one, whose faults a test can command."""

import json
import math
import re
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

from service.http.api.playground import CONTENT_TYPES, DIRECTORY, StaticFile

END = "</s>"
CUTOFFS = [2000, 2400, 3000, 4000, 6000, 9000, 14000, 22000, 34000, 52000, 80000]
FOLLOWERS = {
    "": ["The", "I", "In", "It", "He", '"', "But", "We", "She", "They"],
    "very": ["much", "well", "good", "important", "little", "different", "few", "small", "large", "strong"],
    "much": [".", "of", "more", "to", ",", "for", "as", "in", END, "the"],
    ".": [END, '"', ")", "The", "It", "--", "(", "He", "I", "-"],
    "Thank": ["you", "God", "goodness", "heaven", "the", "him", "her", "them", "your", "our"],
}
OTHERS = ["the", "a", "of", "and", "to", "in", "was", "is", "mulch", "muscle", "mutual"]
UNKNOWN = "zorblat"


@dataclass
class Fault:
    """An error that the stub answers instead of a result."""

    status: int
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Stub:
    """The server and what it saw. `fault` and `key` change its answers; `hold` delays them."""

    def __init__(self) -> None:
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sessions: list[str | None] = []
        self.fault: Fault | None = None
        self.key: str | None = None
        self.explains = False
        self.spans = False
        self.models = ["stub"]
        self.hold: threading.Event | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Listens; after the first time on the same port again."""
        stub = self

        class Handler(_Handler):
            owner = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        # The poll is how long `stop` takes.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Closes the port; a new connection is refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The bodies that were sent to `path`, in order."""
        return [body for asked, body in self.asked if asked == path]


class _Handler(
    BaseHTTPRequestHandler
):  # HTTP/1.0: each answer closes its connection, so that `stop` is final
    owner: Stub

    def do_GET(self) -> None:
        if self.path.startswith("/health"):
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._guarded(lambda: {"object": "list", "data": [_card(name) for name in self.owner.models]})
        elif self.path == "/openapi.json":
            properties = {"explain": {"type": "boolean"}} if self.owner.explains else {}
            body = {"content": {"application/json": {"schema": {"properties": properties}}}}
            self._send(200, {"paths": {"/v1/predict": {"post": {"requestBody": body}}}})
        else:
            self._file(self.path.removeprefix("/") or "index.html")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.asked.append((self.path, body))
        self.owner.sessions.append(self.headers["x-session-id"])
        answer = {"/v1/predict": _predict, "/v1/score": partial(_score, spans=self.owner.spans)}[self.path]
        if self.owner.hold is not None:
            self.owner.hold.wait(60)
        self._guarded(lambda: answer(body))

    def _guarded(self, answer: Any) -> None:
        fault = self.owner.fault
        if self.owner.key is not None and self.headers["authorization"] != f"Bearer {self.owner.key}":
            fault = Fault(401, "The API key is missing or wrong.")
        if fault is None:
            self._send(200, answer())
        else:
            error = {"message": fault.message, "type": "stub", "param": fault.param, "code": "stub"}
            self._send(fault.status, {"error": error}, fault.headers)

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        timing = 'queue;dur=0.020, engine;dur=0.800, total;dur=1.100, batch;desc="3", cached;desc="2"'
        more = {"content-type": "application/json", "server-timing": timing} | (headers or {})
        self._write(status, json.dumps(answer).encode(), more)

    def _file(self, name: str) -> None:
        path = DIRECTORY / name
        if "/" in name or path.suffix not in CONTENT_TYPES or not path.is_file():
            self._send(404, {"error": {"message": "Not found.", "type": "", "param": None, "code": ""}})
            return
        file = StaticFile.read(path)  # with the real headers, and so the real content security policy
        self._write(200, file.content, file.headers)

    def _write(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.log_message("the page aborted this request")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keeps the test's output clean."""


def _card(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "architecture": "lstm",
        "vocabulary_size": CUTOFFS[-1],
        "cutoffs": CUTOFFS,
        "clusters": len(CUTOFFS) - 1,
        "parameters": 12_345_678,
        "dtype": "float32",
        "device": "cpu",
    }


def _predict(body: dict[str, Any]) -> dict[str, Any]:
    context = body["inputs"].replace(".", " .").split()
    words = [*FOLLOWERS.get(context[-1] if context else "", []), *OTHERS]
    prefix = body.get("prefix") or ""
    begun = re.split(r"(?<=[^\w'])", prefix)[-1]
    key = str.casefold if body.get("ignore_case") else str
    if prefix:
        vocabulary = dict.fromkeys([*words, *FOLLOWERS, *chain.from_iterable(FOLLOWERS.values())])
        words = [word for word in vocabulary if key(word).startswith(key(begun)) and word != END]
    if body.get("words_only"):
        words = [word for word in words if word[0].isalnum()]
    words = list(dict.fromkeys(words))[: body["k"]]
    result: dict[str, Any] = {
        "words": [{"word": word, "logprob": -0.3 - 0.9 * rank} for rank, word in enumerate(words)],
        "context_words": len(context),
        "unknown_words": 0,
    }
    if prefix:
        for word in result["words"]:
            word["completion"] = prefix.removesuffix(begun) + word["word"]
    if body.get("explain"):
        logprobs = [-3.0 - place for place in range(len(CUTOFFS) - 1)]
        opened = [place for place, logprob in enumerate(logprobs) if logprob > result["words"][-1]["logprob"]]
        result["explain"] = {"clusters": opened, "cluster_logprobs": logprobs}
    return {"results": [result]}


def _score(body: dict[str, Any], spans: bool) -> dict[str, Any]:
    results = [_scored(text, body["end_of_sentence"]) for text in body["inputs"]]
    for text, result in zip(body["inputs"], results, strict=True):
        if spans:
            _add_spans(text, result)
    return {"results": results}


def _add_spans(text: str, result: dict[str, Any]) -> None:
    at = 0
    for word in result["words"]:
        word["start"] = len(text) if word["word"] == END else text.index(word["word"], at)
        at = word["end"] = len(text) if word["word"] == END else word["start"] + len(word["word"])
        if "\u2019" in word["word"]:
            word["token"] = word["word"].replace("\u2019", "'")
    result["known_perplexity"] = 12.5


def _scored(text: str, end: bool) -> dict[str, Any]:
    surfaces = text.replace(",", " , ").replace(".", " .").split() + ([END] if end else [])
    words: list[dict[str, Any]] = [
        {"word": surface, "logprob": -0.5 - 1.7 * place, "known": surface != UNKNOWN}
        for place, surface in enumerate(surfaces)
    ]
    total = sum(word["logprob"] for word in words)
    return {
        "logprob": total,
        "perplexity": math.exp(-total / len(words)),
        "word_count": len(words),
        "unknown_words": sum(not word["known"] for word in words),
        "words": words,
    }
