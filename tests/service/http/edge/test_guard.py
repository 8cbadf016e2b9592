"""The key, and how many requests run at once."""

import pytest

from tests.support.asgi import BODY, Connection, Local, wait_for

pytestmark = pytest.mark.anyio


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
