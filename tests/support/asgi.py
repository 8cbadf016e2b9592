"""An app in this process, and requests to it: with httpx, or in plain ASGI."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import Message

from models.bundle import Bundle
from service.contract import messages as contract
from service.fleet.loading import card
from service.fleet.served import Catalog, Served
from service.http.api.examples import describe
from service.http.app import HeadfirstApp, create_app
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.engines import FakeEngine

Answering = Callable[[contract.Message], contract.Answer]


class LocalApp:
    """The app in this process, its engine a double."""

    def __init__(
        self, bundle: Bundle, settings: Settings, answer: Callable[[contract.Message], contract.Answer]
    ) -> None:
        self.engine = FakeEngine(answer)
        self.metrics = Metrics(bundle.config.n_clusters)
        served = Served(bundle, self.engine, card(bundle), describe(bundle))
        self.app: HeadfirstApp = create_app(settings, Catalog([served]), self.metrics)
        self.admission = self.app.context.admission

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"headfirst_{name}", labels)
        assert value is not None, f"no series headfirst_{name}{labels}"
        return value


Local = Callable[..., LocalApp]


BODY = b'{"inputs": "Thank you"}'


async def post(
    app: LocalApp, path: str, headers: dict[str, str] | None = None, **body: object
) -> httpx.Response:
    async with app.client() as client:
        return await client.post(f"/v1/{path}", json=body, headers=headers)


def error_of(response: httpx.Response) -> dict[str, str | None]:
    assert list(response.json()) == ["error"]
    error: dict[str, str | None] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


class Connection:
    """A client at the ASGI level: it sends messages one by one, and keeps what it receives."""

    def __init__(
        self, app: LocalApp, path: str = "/v1/predict", method: str = "POST", **headers: str
    ) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": raw,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.task = asyncio.create_task(app.app(scope, self.incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def body(self, *chunks: bytes, last: bool = True) -> "Connection":
        for index, chunk in enumerate(chunks):
            more = not last or index < len(chunks) - 1
            self.incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})
        return self

    def disconnect(self) -> "Connection":
        self.incoming.put_nowait({"type": "http.disconnect"})
        return self

    @property
    def watched(self) -> bool:
        """Whether the app waits for the client's next message."""
        return bool(self.incoming._getters)  # type: ignore[attr-defined]

    async def done(self) -> "Connection":
        await self.task
        return self

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def error(self) -> dict[str, Any]:
        content = b"".join(message["body"] for message in self.sent[1:])
        error: dict[str, Any] = json.loads(content)["error"]
        return error


def access_records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.name == "headfirst.access"]  # type: ignore[attr-defined]


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- the app announces no progress
            await asyncio.sleep(0.001)
