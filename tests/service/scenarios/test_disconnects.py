"""Clients that leave before their answer."""

import asyncio
import logging

import pytest

from tests.support.asgi import BODY, Connection, Local, access_records, wait_for

pytestmark = pytest.mark.anyio


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
    assert app.admission.in_flight == 0
    assert app.sample("requests_in_progress") == 0


async def test_a_late_answer_to_a_watched_client(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    call = Connection(app).body(BODY)
    await wait_for(lambda: bool(app.engine.futures) and call.watched)
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
    assert app.admission.in_flight == 0
