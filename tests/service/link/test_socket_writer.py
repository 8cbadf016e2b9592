"""Bytes out over a connection, from any thread."""

import asyncio
import socket
import threading

import pytest
import uvloop

from service.link.socket_writer import SocketWriter


class Ends:
    """A connection whose one end is a transport of the running loop."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def open(self) -> SocketWriter:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_connection(asyncio.Protocol, sock=self.near)
        self.out = SocketWriter(self.transport, loop)
        return self.out

    def read(self, size: int) -> bytes:
        self.far.settimeout(30)
        data = bytearray()
        while len(data) < size:
            data += self.far.recv(1 << 16)
        return bytes(data)

    def close(self) -> None:
        self.out.close()
        self.transport.close()
        self.far.close()


def run(test) -> None:  # type: ignore[no-untyped-def]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_all_arrives_in_order_whoever_writes(size: int) -> None:
    threads, count = 4, 5

    async def test() -> None:
        ends = Ends()
        out = await ends.open()
        pieces = [[bytes([16 * t + n % 16]) * size for n in range(count)] for t in range(threads)]
        writers = [threading.Thread(target=lambda mine=mine: [out.write(p) for p in mine]) for mine in pieces]
        for writer in writers:
            writer.start()
        data = await asyncio.to_thread(ends.read, threads * count * size)
        for writer in writers:
            writer.join()
        ends.close()
        # Each write is whole, and each thread's are in order.
        found = [data[at : at + size] for at in range(0, len(data), size)]
        for t, mine in enumerate(pieces):
            assert [piece for piece in found if piece[0] // 16 == t] == mine

    run(test)


def test_when_nobody_reads_it_waits_without_blocking() -> None:
    async def test() -> None:
        ends = Ends()
        out = await ends.open()
        out.write(b"a" * 1_000_000)
        out.write(b"b")
        await asyncio.sleep(0)
        assert await asyncio.to_thread(ends.read, 1_000_001) == b"a" * 1_000_000 + b"b"
        out.write(b"c")  # At once again.
        assert ends.far.recv(10) == b"c"
        ends.close()

    run(test)


def test_after_the_end_nothing_is_written() -> None:
    async def test() -> None:
        ends = Ends()
        out = await ends.open()
        out.write(b"before")
        out.close()
        out.close()
        out.write(b"after")
        ends.transport.close()
        await asyncio.sleep(0)
        assert await asyncio.to_thread(read_all, ends.far) == b"before"
        ends.close()

    run(test)


def test_writing_to_an_end_that_has_left_raises_nothing() -> None:
    async def test() -> None:
        ends = Ends()
        out = await ends.open()
        ends.far.close()
        for _ in range(3):
            out.write(b"into the void")
            await asyncio.sleep(0)
        ends.close()

    run(test)


def test_what_is_left_is_dropped_at_the_end() -> None:
    async def test() -> None:
        ends = Ends()
        out = await ends.open()
        out.write(b"a" * 1_000_000)
        out.close()
        ends.transport.close()
        await asyncio.sleep(0)
        assert 0 < len(await asyncio.to_thread(read_all, ends.far)) < 1_000_000
        ends.close()

    run(test)


def read_all(end: socket.socket) -> bytes:
    data = bytearray()
    while piece := end.recv(1 << 16):
        data += piece
    return bytes(data)
