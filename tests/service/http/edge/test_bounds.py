"""What a client sends or leaves unread is bounded at every stage of its connection."""

import asyncio
import gc
import json
import logging
import socket
import struct
import time
import weakref

import pytest

from service.contract.messages import Answer, Message, Predicted
from service.http.edge import protocol
from tests.support.asgi import Local, access_records
from tests.support.engines import TIMING
from tests.support.local_server import Running, run

pytestmark = pytest.mark.anyio

POST = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n"
BODY = b'{"inputs": "a"}'
KEY = "topsecret"


async def answer_to(running: Running, data: bytes, size: int = 0) -> bytes:
    """All that comes back to `data`, sent in pieces of `size` bytes, until the client sends no more."""
    reader, writer = await running.connect()
    size = size or len(data)
    for at in range(0, len(data), size):
        writer.write(data[at : at + size])
        await writer.drain()
        if size < len(data):
            await asyncio.sleep(0)
    writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


def chunked(*trailers: bytes, head: bytes = b"", extension: bytes = b"") -> bytes:
    chunk = b"%x%s\r\n%s\r\n" % (len(BODY), extension, BODY)
    return (
        CHUNKED + head + b"\r\n" + chunk + b"0\r\n" + b"".join(each + b"\r\n" for each in trailers) + b"\r\n"
    )


SIZES = pytest.mark.parametrize("size", [0, 1, 100], ids=["whole", "bytes", "pieces"])


@SIZES
async def test_a_key_in_a_trailer_is_none(local: Local, size: int) -> None:
    async with run(local(api_key=KEY)) as running:
        given = b"authorization: Bearer " + KEY.encode()
        assert (await answer_to(running, chunked(given), size)).startswith(b"HTTP/1.1 401 ")
        assert (await answer_to(running, chunked(head=given + b"\r\n"), size)).startswith(b"HTTP/1.1 200 ")


@SIZES
@pytest.mark.parametrize(
    "trailer",
    [
        b"x-request-id: mine",
        b"x-request-timeout: nonsense",
        b"content-encoding: gzip",
        b"host: other",
        b"origin: http://other",
        b"expect: 100-continue",
        b"connection: close",
        b"x-forwarded-for: 1.2.3.4",
    ],
    ids=lambda trailer: trailer.partition(b":")[0].decode(),
)
async def test_no_trailer_counts(local: Local, size: int, trailer: bytes) -> None:
    async with run(local()) as running:
        answer = await answer_to(running, chunked(trailer), size)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"x-request-id: mine" not in answer


@SIZES
@pytest.mark.parametrize("trailer", [b"content-length: 3", b"transfer-encoding: identity"])
async def test_a_trailer_that_frames_is_not_http(local: Local, size: int, trailer: bytes) -> None:
    async with run(local()) as running:
        answer = await answer_to(running, chunked(trailer), size)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


LARGE = 100_000


@pytest.mark.parametrize("size", [0, 5000], ids=["whole", "pieces"])
@pytest.mark.parametrize(
    "sent",
    [
        chunked(b"x: " + b"y" * LARGE),
        chunked(*[b"x: y"] * (LARGE // 6)),
        chunked(extension=b";x=" + b"y" * LARGE),
        POST + b"x: " + b"y" * LARGE + b"\r\ncontent-length: 15\r\n\r\n" + BODY,
        b"GET /" + b"y" * LARGE + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
    ids=["a trailer", "trailers", "an extension", "a header", "a target"],
)
async def test_what_frames_a_body_is_bounded_like_a_head(local: Local, size: int, sent: bytes) -> None:
    async with run(local()) as running:
        answer = await answer_to(running, sent, size)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_http"' in answer


async def test_small_chunks_and_extensions_are_fine(local: Local) -> None:
    body = json.dumps({"inputs": "Thank you " * 5000}).encode()
    pieces = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in body)
    async with run(local()) as running:
        answer = await answer_to(running, CHUNKED + b"\r\n" + pieces + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_head_that_begins_behind_a_large_body(local: Local) -> None:
    """What is counted of the second head is not the body before it."""
    body = json.dumps({"inputs": "Thank you " * 20_000}).encode()
    sent = (
        POST
        + b"content-length: %d\r\n\r\n%s" % (len(body), body)
        + POST
        + b"content-length: 15\r\n\r\n"
        + BODY
    )
    async with run(local()) as running:
        for cut in (len(sent) - 30, len(sent) - len(BODY) - 30):
            reader, writer = await running.connect(sent[:cut])
            await asyncio.sleep(0.05)
            writer.write(sent[cut:])
            writer.write_eof()
            assert (await reader.read()).count(b"HTTP/1.1 200 ") == 2
            writer.close()


async def test_the_rest_of_an_answered_body_has_its_time(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    head = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
    async with run(local()) as running:
        reader, writer = await running.connect(head)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        while running.server.server_state.connections:
            writer.write(b"x")
            await asyncio.sleep(0.05)
            assert time.monotonic() < started + 10
        writer.close()


def words(count: int) -> bytes:
    return json.dumps({"inputs": ["a"] * count, "k": 100}).encode()


async def stalled(running: Running, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks and reads nothing, once the server has something to write that it cannot."""
    reader, writer = await running.connect(receive_buffer=4096)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(request)

    def waits() -> bool:
        return any(
            connection.transport.get_extra_info("write_buffer") or size_of(connection)
            for connection in running.server.server_state.connections
        )

    await running.wait_for(waits)
    return reader, writer


def size_of(connection: object) -> int:
    size: int = connection.transport._transport.get_write_buffer_size()  # type: ignore[attr-defined]
    return size


def many(message: Message) -> Answer:
    """An answer of a few MB for each input."""
    return Predicted((3,) * 100_000, (-1.0,) * 100_000, (), TIMING)


async def test_a_finished_answer_that_is_not_read_is_given_up(local: Local) -> None:
    app = local(answer=many, write_timeout=0.3)
    async with run(app) as running:
        body = words(4)
        _, writer = await stalled(running, POST + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        assert app.admission.in_flight == 0
        await running.wait_for(lambda: not running.server.server_state.connections)
        writer.close()


async def test_a_client_that_reads_slowly_gets_all(local: Local) -> None:
    app = local(answer=many, write_timeout=0.5)
    async with run(app) as running:
        body = words(4)
        reader, writer = await stalled(
            running, POST + b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        size, started = 0, time.monotonic()
        while piece := await reader.read(200_000):
            size += len(piece)
            await asyncio.sleep(0.02)
        assert size > 10_000_000
        assert time.monotonic() - started > 0.5
        writer.close()


@pytest.mark.parametrize("late", ["its deadline", "the write timeout"])
async def test_a_stalled_stream_ends(local: Local, late: str) -> None:
    """Its place is free again, whichever comes first."""
    write_timeout, timeout_ms = (60, 700) if late == "its deadline" else (0.3, 25_000)
    app = local(write_timeout=write_timeout)
    asked = {"prompt": "x" * 900_000, "n": 32, "echo": True, "stream": True, "timeout_ms": timeout_ms}
    body = json.dumps(asked).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with run(app) as running:
        _, writer = await running.connect(receive_buffer=4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request + body)
        async with asyncio.timeout(15):
            await running.wait_for(lambda: app.admission.in_flight == 1)
            await running.wait_for(lambda: app.admission.in_flight == 0)
            await running.wait_for(lambda: not running.server.server_state.connections)
        writer.close()
    assert app.engine.submitted == []


async def test_a_reset_connection_leaves_nothing(local: Local) -> None:
    async with run(local()) as running:
        client = socket.create_connection(("127.0.0.1", running.port))
        client.sendall(POST + b"content-length: 15\r\n\r\n" + BODY)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_recv(client, 1000)
        (connection,) = running.server.server_state.connections
        kept = [weakref.ref(connection), weakref.ref(connection.cycle)]  # type: ignore[union-attr]
        del connection
        gc.collect()
        assert all(reference() is not None for reference in kept)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await running.wait_for(lambda: not running.server.server_state.connections)
        await asyncio.sleep(0.05)
        gc.collect()
        assert [reference() for reference in kept] == [None, None]


async def test_a_reset_cancels_and_a_fin_does_not(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    request = POST + b"content-length: 15\r\n\r\n" + BODY
    async with run(app) as running:
        client = socket.create_connection(("127.0.0.1", running.port))
        client.sendall(request)
        await running.wait_for(lambda: app.admission.in_flight == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await running.wait_for(lambda: app.admission.in_flight == 0)
        reader, writer = await running.connect(request)
        writer.write_eof()
        await running.wait_for(lambda: app.admission.in_flight == 1)
        await asyncio.sleep(0.05)
        app.engine.hold.set()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer
        writer.close()


async def test_bodies_that_wait_have_a_budget(local: Local) -> None:
    app = local(max_waiting_body_bytes=100_000)
    piece = POST + b"content-length: 60000\r\n\r\n" + b" " * 50_000
    async with run(app) as running:
        first = await running.connect(piece)
        await running.wait_for(lambda: app.app.context.bodies.held == 50_000)
        reader, writer = await running.connect(piece + b" " * 9999)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert b'"code":"too_many_bytes"' in answer
        first[1].transport.abort()
        await running.wait_for(lambda: app.app.context.bodies.held == 0)
        whole = POST + b"content-length: %d\r\n\r\n" % (len(BODY) + 90_000) + b" " * 90_000
        reader, last = await running.connect(whole)
        await running.wait_for(lambda: app.app.context.bodies.held == 90_000)
        last.write(BODY)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        assert app.app.context.bodies.held == 0
        writer.close()
        last.close()


async def test_what_is_not_http_is_counted_and_logged(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = local()
    async with run(app) as running:
        answer = await answer_to(
            running, b"GET /x HTTP/1.1\r\nx-request-id: mine\r\ncontent-length: x\r\n\r\n"
        )
        garbage = await answer_to(running, b"hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-request-id: mine\r\n" in answer + b"\r\n"
    assert b"Invalid method" in garbage
    assert app.sample("requests_total", endpoint="other", status="400") == 2
    first, second = access_records(caplog)
    assert (first["id"], first["method"], first["path"]) == ("mine", "GET", "/x")
    assert "Content-Length" in first["reason"]
    assert (second["method"], second["path"]) == ("", "")
