"""Request ids, access log, metrics, and faults that come late; asked in plain ASGI."""

import logging
from collections.abc import Iterable

import pytest
from starlette.types import Message

from service.http.telemetry.endpoints import STATUSES
from tests.support.asgi import BODY, Connection, Local, access_records

pytestmark = pytest.mark.anyio


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
        "client": "127.0.0.1",
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
    assert endpoints == set(STATUSES)


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
