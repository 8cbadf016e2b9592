"""The head of a request: its size, its time, and what is no HTTP."""

import asyncio
import json

import pytest

from service.http.edge import protocol
from tests.support.asgi import Local
from tests.support.local_server import Running, run

pytestmark = pytest.mark.anyio

POST = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\n"
GET = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def answer_to(running: Running, *pieces: bytes) -> tuple[bytes, bytes]:
    """Head and body of what comes back until the server ends the connection."""
    reader, writer = await running.connect()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize(
    "pieces",
    [
        (b"hello\r\n\r\n",),
        (b"GET / HTTP/9.9\r\n\r\n",),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n",),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",),
        (b"GET / HTTP/1.1\r\nx: ", b"y" * 100_000),
        (b"GET /", b"y" * 100_000),
        (b"GET / HTTP/1.1\r\n", *[b"x: y\r\n" * 1000] * 20),
        (POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"no chunk\r\n"),
    ],
    ids=["words", "version", "length", "smuggling", "value", "path", "headers", "chunk"],
)
async def test_what_is_refused(local: Local, pieces: tuple[bytes, ...]) -> None:
    async with run(local()) as running:
        head, body = await answer_to(running, *pieces)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close" in head
    assert b"\r\nx-request-id: " in head
    assert b"\r\ndate: " in head
    error = json.loads(body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == "invalid_http"


async def test_a_request_before_it_gets_its_answer(local: Local) -> None:
    app = local()
    async with run(app) as running:
        head, body = await answer_to(running, GET + b"GET /", b"y" * 100_000)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in head
        assert body == b'{"status":"ok"}'
        request = POST + b"content-length: 15\r\n\r\n" + b'{"inputs": "a"}'
        head, body = await answer_to(running, request + b"hello\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1" not in body


async def test_a_body_that_ends_in_garbage_is_given_up(local: Local) -> None:
    app = local()
    async with run(app) as running:
        reader, writer = await running.connect(POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
        await running.wait_for(lambda: app.admission.in_flight == 1)
        writer.write(b"no chunk\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        await running.wait_for(lambda: app.admission.in_flight == 0)
        writer.close()
    assert app.sample("requests_total", endpoint="/v1/predict", status="499") == 1


async def test_a_refused_client_may_go_on_sending(local: Local) -> None:
    async with run(local()) as running:
        head, _ = await answer_to(running, b"hello\r\n\r\n", *[b"z" * 100_000] * 20)
    assert head.startswith(b"HTTP/1.1 400 ")


async def test_a_refused_client_is_cut_off_in_the_end(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.01)
    async with run(local()) as running:
        reader, writer = await running.connect(b"hello\r\n\r\n")
        await reader.read()
        await running.wait_for(lambda: not running.server.server_state.connections)
        writer.close()


@pytest.mark.parametrize("data", [b"", b"GET / HT"])
async def test_a_head_that_does_not_come(local: Local, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    async with run(local()) as running:
        head, _ = await answer_to(running, data)
    assert head == b""


async def test_the_second_head_has_to_come_as_well(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run(local()) as running:
        reader, writer = await running.connect(GET)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
        writer.write(b"GET / HT")
        async with asyncio.timeout(30):
            assert await reader.read() == b'{"status":"ok"}'
        writer.close()


async def test_a_head_in_pieces_and_a_second_one(local: Local) -> None:
    async with run(local()) as running:
        reader, writer = await running.connect()
        for _ in range(2):
            for byte in GET:
                writer.write(bytes([byte]))
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(15) == b'{"status":"ok"}'
        writer.close()


UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
"""What Java's HttpClient sends with its first request, and `curl --http2`."""


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["bytes", "sevens", "whole"])
async def test_an_upgrade_that_is_not_made_costs_no_body(local: Local, size: int) -> None:
    body = b'{"inputs": ["a", "b"]}'
    length, chunked = b"content-length: 22\r\n\r\n" + body, b"transfer-encoding: chunked\r\n\r\n16\r\n"
    requests = [
        POST + UPGRADE + length,
        POST + length,
        POST + UPGRADE + chunked + body + b"\r\n0\r\n\r\n",
        GET.replace(b"\r\nhost", b"\r\n" + UPGRADE + b"host"),
        GET.replace(b"host: localhost", b"host: localhost\r\nconnection: close"),
    ]
    sent = b"".join(requests)
    app = local()
    async with run(app) as running:
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        head, rest = await answer_to(running, *pieces)
    assert b"\r\n".join([head, rest]).count(b"HTTP/1.1 200 ") == len(requests)
    assert app.sample("requests_total", endpoint="/v1/predict", status="200") == 3
    assert rest.count(b'"context_words":1') == 6
    assert rest.endswith(b'\r\n\r\n{"status":"ok"}')


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT x:1 HTTP/1.1\r\nhost: localhost\r\n" + UPGRADE + b"\r\n",
        b"POST //[ HTTP/1.1\r\n" + UPGRADE + b"content-length: 2\r\n\r\n{}",
    ],
    ids=["connect", "no path"],
)
async def test_an_upgrade_of_what_is_nothing_here(local: Local, head: bytes) -> None:
    async with run(local()) as running:
        reader, writer = await running.connect(head)
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 4")
        assert b"\r\nx-request-id: " in answer
        writer.close()


async def test_a_head_beside_a_large_body(local: Local) -> None:
    body = json.dumps({"inputs": "Thank you " * 20_000}).encode()
    async with run(local()) as running:
        head = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        answer, _ = await answer_to(running, head + body)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_timer_that_comes_too_late(local: Local) -> None:
    async with run(local()) as running:
        _, writer = await running.connect()
        await running.wait_for(lambda: len(running.server.server_state.connections) == 1)
        (connection,) = running.server.server_state.connections
        assert isinstance(connection, protocol.HttpProtocol)
        connection.transport.close()
        connection._head_is_late()
        writer.close()
