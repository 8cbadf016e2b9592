"""Requests that are too many: refused as soon as their head is there."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.asgi import BODY, Local
from tests.support.local_server import Running, run

pytestmark = pytest.mark.anyio


def request(body: bytes = BODY, path: str = "/v1/predict", version: str = "1.1", **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer of a connection."""
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:-2])
        return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def connected(
    running: Running, data: bytes, receive_buffer: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await running.connect(data, receive_buffer=receive_buffer)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def answer_to(running: Running, data: bytes) -> tuple[int, dict[str, str], bytes]:
    async with connected(running, data) as (reader, _):
        return await answer(reader)


@asynccontextmanager
async def full(local: Local, **settings: object) -> AsyncIterator[Running]:
    """A server that runs as many requests as it may: one, which ends with the context."""
    app = local(max_concurrent_requests=1, **settings)
    app.engine.hold.clear()
    async with run(app) as running:
        key = {"authorization": "Bearer topsecret"} if settings else {}
        async with connected(running, request(**key)) as (reader, _):
            await running.wait_for(lambda: len(app.engine.submitted) == 1)
            yield running
            app.engine.hold.set()
            assert (await answer(reader))[0] == 200


async def test_what_a_refused_client_gets(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headfirst.access")
    async with full(local) as running:
        async with connected(running, request(x_request_id="mine")) as (reader, writer):
            status, headers, body = await answer(reader)
            # The connection is as good as before.
            writer.write(request())
            assert (await answer(reader))[0] == 429
        assert status == 429
        assert headers["content-type"] == "application/json"
        assert headers["retry-after"] == "1"
        assert headers["x-request-id"] == "mine"
        assert "date" in headers
        error = json.loads(body)["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_requests")
    app = running.app
    assert app.sample("rejected_total", reason="queue_full") == 2
    assert app.sample("requests_total", endpoint="/v1/predict", status="429") == 2
    assert app.sample("request_duration_seconds_count", endpoint="/v1/predict") == 3
    lines = [record.fields for record in caplog.records if record.name == "headfirst.access"]  # type: ignore[attr-defined]
    assert [line["status"] for line in lines] == [429, 429, 200]
    assert lines[0]["id"] == "mine"
    assert lines[0]["bytes_out"] == len(body)


async def test_the_engine_and_the_place_of_others_are_not_touched(local: Local) -> None:
    async with full(local) as running:
        for _ in range(3):
            assert (await answer_to(running, request()))[0] == 429
        assert len(running.app.engine.submitted) == running.app.admission.in_flight == 1


async def test_a_body_that_comes_later_is_thrown_away(local: Local) -> None:
    async with full(local) as running:
        whole = request(b'{"inputs": "' + b"a" * 100_000 + b'"}')
        async with connected(running, whole[:200]) as (reader, writer):
            assert (await answer(reader))[0] == 429
            writer.write(whole[200:])
            writer.write(request(x_request_id="next"))
            status, headers, _ = await answer(reader)
            assert (status, headers["x-request-id"]) == (429, "next")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(authorization="Bearer wrong"), 401),
        (request(authorization="Bearer topsecret"), 429),
        (request(path="/v1/nothing", authorization="Bearer topsecret"), 404),
        (b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
    ],
    ids=["key", "full", "path", "health"],
)
async def test_what_else_is_wrong_comes_first(local: Local, sent: bytes, status: int) -> None:
    async with full(local, api_key="topsecret") as running:
        assert (await answer_to(running, sent))[0] == status


@pytest.mark.parametrize(
    "sent", [request(version="1.0"), request(connection="close"), request(expect="100-continue")]
)
async def test_others_are_refused_on_the_long_way(local: Local, sent: bytes) -> None:
    async with full(local) as running:
        assert (await answer_to(running, sent))[0] == 429


async def test_requests_sent_ahead_wait_for_their_turn(local: Local) -> None:
    app = local(max_concurrent_requests=1)
    async with run(app) as running, connected(running, request() * 3) as (reader, _):
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 200]


async def test_who_reads_nothing_waits(local: Local) -> None:
    async with full(local) as running, connected(running, request() * 20_000, 4096) as (reader, _):
        # The kernel's buffers hold some answers; then the server stops to read, and to make any. It runs on
        # this event loop: in so many turns it would have gone on, however long they take.
        refused, turns_without = 0.0, 0
        while not refused or turns_without < 100:
            await asyncio.sleep(0.002)
            before, refused = refused, running.app.sample("rejected_total", reason="queue_full")
            turns_without = turns_without + 1 if refused == before else 0
        assert refused < 20_000
        for _ in range(100):  # Whoever reads gets them all the same.
            assert (await answer(reader))[0] == 429


async def test_a_body_that_came_late_leaves_a_timer(local: Local) -> None:
    async with full(local, keep_alive=0.3) as running:
        whole = request()
        async with connected(running, whole[:-5]) as (reader, writer):
            assert (await answer(reader))[0] == 429
            writer.write(whole[-5:])
            async with asyncio.timeout(30):
                assert await reader.read() == b""  # The connection is closed when nothing comes.
