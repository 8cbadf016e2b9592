"""Request ids, access log, metrics, key, admission, body limit, disconnects; asked in plain ASGI."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from starlette.types import Message

from service import middleware
from service.metrics import ENDPOINTS
from tests.service.conftest import LocalApp

pytestmark = pytest.mark.anyio
Local = Callable[..., LocalApp]

BODY = b'{"inputs": "Thank you"}'


class Connection:
    """A client at the ASGI level: its messages go in one by one, what comes back is kept."""

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


@pytest.mark.parametrize("given", ["abc-123", "A.b_c:d/e+f=g@h", "x" * 128])
async def test_a_sane_id_is_echoed(local: Local, given: str) -> None:
    call = await Connection(local(), x_request_id=given).body(BODY).done()
    assert call.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "x" * 129, "a b", "a\nb", "é", "a\x7f", '"quoted"'])
async def test_any_other_id_is_replaced(local: Local, given: str) -> None:
    call = await Connection(local(), x_request_id=given).body(BODY).done()
    assert len(call.headers["x-request-id"]) == 32
    assert call.headers["x-request-id"].isalnum()


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/v1/predict", "POST", b"{", 400),
        ("/v1/predict", "POST", b"x" * 1001, 413),
        ("/v1/predict", "POST", b"{}", 422),
        ("/v1/predict", "GET", b"", 405),
        ("/v1/nothing", "GET", b"", 404),
        ("/nothing", "GET", b"", 404),
        ("/v1/predict/", "POST", BODY, 404),
        ("/metrics", "GET", b"", 200),
        ("/docs", "GET", b"", 200),
    ],
)
async def test_every_answer_has_an_id(local: Local, path: str, method: str, body: bytes, status: int) -> None:
    app = local(max_body_bytes=1000)
    call = await Connection(app, path, method, x_request_id="mine").body(body).done()
    assert (call.status, call.headers["x-request-id"]) == (status, "mine")
    if status >= 400:
        assert set(call.error) == {"message", "type", "param", "code"}
        assert call.headers["content-type"] == "application/json"


async def test_wrong_method_says_which_is_right(local: Local) -> None:
    call = await Connection(local(), method="DELETE").done()
    assert (call.status, call.headers["allow"], call.error["code"]) == (405, "POST", "method_not_allowed")


async def test_access_log(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await Connection(local(), x_request_id="mine").body(b'{"inputs": ["Thank', b' you", "secret"]}').done()
    (fields,) = access_records(caplog)
    assert fields.pop("total_ms") > 0
    assert fields.pop("bytes_out") > 100
    assert fields == {
        "id": "mine",
        "method": "POST",
        "path": "/v1/predict",
        "status": 200,
        "inputs": 2,
        "bytes_in": 35,
        "queue_ms": 1.0,
        "engine_ms": 2.0,
    }
    assert "secret" not in caplog.text


async def test_access_log_can_be_off(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    call = await Connection(local()).body(BODY).done()
    assert call.status == 200
    assert access_records(caplog) == []


async def test_requests_are_counted_by_route(local: Local) -> None:
    app = local()
    for _ in range(3):
        await Connection(app).body(BODY).done()
    await Connection(app).body(b"").done()
    await Connection(app, "/no/such/path", "GET").done()
    assert app.sample("requests_total", endpoint="/v1/predict", status="200") == 3
    assert app.sample("requests_total", endpoint="/v1/predict", status="400") == 1
    assert app.sample("requests_total", endpoint="other", status="404") == 1
    assert app.sample("request_duration_seconds_count", endpoint="/v1/predict") == 4
    assert app.sample("requests_in_progress") == 0


async def test_only_known_paths_are_labels(local: Local) -> None:
    app = local()
    for path in ("/a", "/b", "/v1/c", "/{file}x"):
        await Connection(app, path, "GET").done()
    endpoints = {
        sample.labels["endpoint"]
        for family in app.metrics.registry.collect()
        if family.name == "headfirst_requests"
        for sample in family.samples
    }
    assert endpoints == set(ENDPOINTS)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", "Bearer  ", "Basic topsecret", "topsecret", "Bearer topsecre"],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/score", "/v1/models", "/v1/nothing"])
async def test_a_key_is_asked_for(local: Local, header: str | None, path: str) -> None:
    app = local(api_key="topsecret")
    headers = {} if header is None else {"authorization": header}
    call = await Connection(app, path, **headers).body(BODY).done()
    assert (call.status, call.error["code"]) == (401, "invalid_api_key")
    assert call.headers["www-authenticate"].startswith("Bearer")
    assert app.engine.submitted == []


@pytest.mark.parametrize("header", ["Bearer topsecret", "bearer topsecret", "BEARER  topsecret "])
async def test_the_key_opens(local: Local, header: str) -> None:
    call = await Connection(local(api_key="topsecret"), authorization=header).body(BODY).done()
    assert call.status == 200


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"]
)
async def test_health_metrics_and_documentation_are_public(local: Local, path: str) -> None:
    call = await Connection(local(api_key="topsecret"), path, "GET").done()
    assert call.status == 200


async def test_unauthorized_requests_are_counted(local: Local) -> None:
    app = local(api_key="topsecret")
    await Connection(app).body(BODY).done()
    assert app.sample("rejected_total", reason="unauthorized") == 1


async def test_too_many_at_once(local: Local) -> None:
    app = local(max_concurrent_requests=2)
    app.engine.hold.clear()
    running = [Connection(app).body(BODY) for _ in range(2)]
    await wait_for(lambda: len(app.engine.submitted) == 2)
    refused = await Connection(app).body(BODY).done()
    assert (refused.status, refused.error["code"]) == (429, "too_many_requests")
    assert refused.headers["retry-after"]
    assert app.sample("requests_in_progress") == 2
    health = await Connection(app, "/health", "GET").done()
    assert health.status == 200
    app.engine.hold.set()
    assert [(await call.done()).status for call in running] == [200, 200]
    assert (await Connection(app).body(BODY).done()).status == 200
    assert app.sample("rejected_total", reason="queue_full") == 1


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the app tells nobody about its progress
            await asyncio.sleep(0.001)


async def test_declared_length_is_refused_unread(local: Local) -> None:
    app = local(max_body_bytes=1000)
    call = Connection(app, content_length="1001")
    await wait_for(lambda: len(call.sent) == 2)
    assert (call.status, call.error["code"]) == (413, "body_too_large")
    assert call.headers["connection"] == "close"
    await call.disconnect().done()
    assert app.sample("rejected_total", reason="too_large") == 1
    assert app.engine.submitted == []


async def test_counted_length_is_refused_at_once(local: Local) -> None:
    app = local(max_body_bytes=1000)
    call = Connection(app).body(b"x" * 600, b"x" * 600, last=False)
    await wait_for(lambda: len(call.sent) == 2)
    assert call.status == 413
    assert app.lifecycle.in_flight == 0
    # What still comes is thrown away until the client is done; only then the connection is closed.
    await call.body(b"x" * 5000, b"x").done()
    assert call.incoming.empty()
    assert call.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_body_that_is_there_already_is_not_waited_for(local: Local) -> None:
    call = await Connection(local(max_body_bytes=1000)).body(b"x" * 2000).done()
    assert (call.status, call.sent[-1]["more_body"]) == (413, False)


async def test_a_lying_length_does_not_help(local: Local) -> None:
    call = Connection(local(max_body_bytes=1000), content_length="10").body(b"x" * 2000).disconnect()
    assert (await call.done()).status == 413


@pytest.mark.parametrize(("name", "value"), [("LINGER_SECONDS", 0.01), ("LINGER_BYTES", 3000)])
async def test_nobody_lingers_for_ever(
    local: Local, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(middleware, name, value)
    call = Connection(local(max_body_bytes=1000)).body(b"x" * 2000, b"x" * 2000, b"x" * 2000, last=False)
    assert (await call.done()).status == 413


async def test_the_largest_body_is_accepted(local: Local) -> None:
    call = await Connection(local(max_body_bytes=len(BODY)), content_length=str(len(BODY))).body(BODY).done()
    assert call.status == 200


async def test_a_body_in_many_pieces(local: Local) -> None:
    call = await Connection(local()).body(*(bytes([byte]) for byte in BODY)).done()
    assert call.status == 200


async def test_a_body_that_never_comes(local: Local) -> None:
    app = local(request_timeout=0.02)
    call = await Connection(app).body(b"{", last=False).done()
    assert (call.status, call.error["code"]) == (504, "deadline_exceeded")


async def test_a_client_that_leaves_while_it_sends(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = local()
    call = await Connection(app).body(b"{", last=False).disconnect().done()
    assert call.sent == []
    assert app.engine.submitted == []
    assert app.sample("requests_total", endpoint="/v1/predict", status="499") == 1
    assert access_records(caplog)[0]["status"] == 499


async def test_a_client_that_leaves_while_it_waits(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    call = Connection(app).body(b'{"inputs": ["a", "b"]}')
    await wait_for(lambda: len(app.engine.futures) == 2)
    await call.disconnect().done()
    assert call.sent == []
    assert all(future.cancelled() for future in app.engine.futures)
    assert app.sample("requests_total", endpoint="/v1/predict", status="499") == 1
    assert app.lifecycle.in_flight == 0
    assert app.sample("requests_in_progress") == 0


async def test_a_late_answer_to_a_watched_client(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    call = Connection(app).body(BODY)
    await asyncio.sleep(0.05)
    call.body(b"")
    await asyncio.sleep(0)
    app.engine.hold.set()
    assert (await call.done()).status == 200


async def test_a_request_that_the_server_gives_up(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    call = Connection(app).body(BODY)
    await wait_for(lambda: len(app.engine.futures) == 1)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert app.engine.futures[0].cancelled()
    assert app.sample("requests_total", endpoint="/v1/predict", status="499") == 1
    assert app.lifecycle.in_flight == 0


async def test_a_fault_after_the_answer_began_breaks_the_connection(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    app = local()
    call = Connection(app)
    fault = OSError("broken")

    async def send(message: Message) -> None:
        call.sent.append(message)
        if message["type"] == "http.response.body":
            raise fault

    call._send = send  # type: ignore[method-assign]
    call.task.cancel()
    scope = {"type": "http", "method": "GET", "path": "/health", "headers": [], "query_string": b""}
    with pytest.raises(OSError, match="broken"):
        await app.app(scope, call.incoming.get, send)
    assert any(record.exc_info for record in caplog.records)


async def test_lifespan_passes_through(local: Local) -> None:
    incoming: Iterable[Message] = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(incoming)  # type: ignore[call-overload, no-any-return]

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await local().app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
