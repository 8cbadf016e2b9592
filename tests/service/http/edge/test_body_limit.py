"""Bodies that are too large, come in pieces, or do not come."""

import pytest

from service.http.edge import middleware
from tests.support.asgi import BODY, Connection, Local, wait_for

pytestmark = pytest.mark.anyio


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
    assert app.admission.in_flight == 0
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
