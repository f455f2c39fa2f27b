from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from disco.runtime import byte_stream
from disco.runtime.byte_stream import (
    FULL_READ_BYTES,
    LOST,
    QUEUED_BYTES,
    YIELD_BYTES,
    ByteStream,
    SocketBytes,
    StreamBytes,
)
from tests.runtime.websocket_pairs import socket_pair

MEGABYTES = os.urandom(7_654_321)


@pytest.fixture(params=["socket", "stream"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[ByteStream, trio.abc.Stream]]:
    """The server's end of a connection, of either kind, and the client's."""
    if request.param == "stream":
        server, client = memory_stream_pair()
        yield byte_stream.over(server), client
        return
    left, right = socket_pair()
    async with left, right:
        yield byte_stream.over(left), right


async def receive_all(stream: trio.abc.Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += await stream.receive_some()
    return bytes(data)


async def test_a_plain_socket_is_used_directly_and_anything_else_through_trio() -> None:
    left, right = socket_pair()
    async with left, right:
        assert isinstance(byte_stream.over(left), SocketBytes)
        assert isinstance(byte_stream.over(memory_stream_pair()[0]), StreamBytes)


async def test_what_is_written_in_parts_arrives_in_order(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.write, b"header", b"", memoryview(MEGABYTES), b"end")
        assert await receive_all(client, len(MEGABYTES) + 9) == b"header" + MEGABYTES + b"end"


async def test_a_detached_stream_outlives_the_one_that_it_came_from() -> None:
    left, right = socket_pair()
    server = SocketBytes(left)
    async with right:
        server.detach()
        await left.aclose()
        await server.write(b"still here")
        assert await receive_all(right, 10) == b"still here"
        await right.send_all(b"so am I")
        assert await server.read() == b"so am I"
        await server.close()
        assert await right.receive_some() == b""


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such option")
async def test_a_detached_stream_queues_as_much_as_before() -> None:
    # Trio sets its own 16 KiB whenever it makes a stream of a socket.
    left, right = socket_pair()
    server = SocketBytes(left)
    async with right:
        server.detach()
        await left.aclose()
        queued = server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert queued == QUEUED_BYTES
        await server.close()


async def test_bytes_are_received_into_their_place(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    target = memoryview(bytearray(len(MEGABYTES)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, MEGABYTES)
        filled = 0
        while filled < len(target):
            filled += await server.read_into(target[filled:])
    assert target == MEGABYTES


async def test_a_read_returns_what_there_is(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    await client.send_all(b"a few bytes")
    assert await server.read() == b"a few bytes"


async def test_no_read_takes_more_than_its_share(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, MEGABYTES)
        sizes, total = [], 0
        while total < len(MEGABYTES):
            sizes.append(len(await server.read()))
            total += sizes[-1]
    assert max(sizes) <= FULL_READ_BYTES


async def test_the_end_is_an_empty_read(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    await client.send_eof()  # type: ignore[attr-defined]  # both kinds have it
    assert await server.read() == b""
    assert await server.read_into(memoryview(bytearray(10))) == 0


async def test_waiting_has_an_end(pair: tuple[ByteStream, trio.abc.Stream], autojump_clock: object) -> None:
    server, _ = pair
    with pytest.raises(trio.TooSlowError):
        await server.read(5)
    with pytest.raises(trio.TooSlowError):
        await server.read_into(memoryview(bytearray(10)), 5)


async def test_what_came_in_time_is_received(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"just in time")
        assert await server.read(60) == b"just in time"


async def test_a_cancelled_read_loses_nothing(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, client = pair
    await client.send_all(b"still there")
    with trio.CancelScope() as scope:
        scope.cancel()
        await server.read()
    assert scope.cancelled_caught
    assert await server.read() == b"still there"


async def test_a_closed_stream_is_lost(pair: tuple[ByteStream, trio.abc.Stream]) -> None:
    server, _ = pair
    await server.close()
    with pytest.raises(LOST):
        await server.read()
    with pytest.raises(LOST):
        await server.write(b"x")


async def test_aborting_wakes_whoever_reads_or_writes() -> None:
    left, right = socket_pair()
    server = byte_stream.over(left)
    woken: list[str] = []

    async def read() -> None:
        with pytest.raises(LOST):
            await server.read()
        woken.append("reader")

    async def write() -> None:
        with pytest.raises(LOST):
            await server.write(bytes(100_000_000))
        woken.append("writer")

    async with right, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await server.abort()
    assert sorted(woken) == ["reader", "writer"]


async def test_aborting_drops_what_has_not_been_sent() -> None:
    left, right = socket_pair()
    server = byte_stream.over(left)
    await server.write(b"x" * 1000)
    await server.abort()
    async with right:
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(right, 1001)


async def test_a_connection_that_was_reset_is_lost() -> None:
    left, right = socket_pair()
    await byte_stream.over(right).abort()
    server = byte_stream.over(left)
    with pytest.raises(LOST):
        await server.read()
    with pytest.raises(LOST):
        await server.write(b"x")
    await server.close()


class Turns:
    """Counts how often another task gets a turn."""

    def __init__(self) -> None:
        self.taken = 0

    async def count(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.taken += 1


async def test_a_busy_client_leaves_the_others_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "READ_BYTES", 1000)
    monkeypatch.setattr(byte_stream, "FULL_READ_BYTES", 1000)
    left, right = socket_pair()
    server, turns = byte_stream.over(left), Turns()
    async with left, right, trio.open_nursery() as nursery:
        await right.send_all(bytes(20_000))
        nursery.start_soon(turns.count)
        for _ in range(20):
            await server.read()
        assert turns.taken >= 18  # the counter itself starts a turn or two late
        nursery.cancel_scope.cancel()


async def test_a_fast_reader_leaves_the_others_their_turns() -> None:
    left, right = socket_pair()
    server, turns = byte_stream.over(left), Turns()
    total = 10 * YIELD_BYTES

    def read_all() -> None:
        with socket.socket(fileno=os.dup(right.socket.fileno())) as plain:
            plain.setblocking(True)
            received = 0
            while received < total:
                received += len(plain.recv(YIELD_BYTES))

    async with left, right, trio.open_nursery() as nursery:
        nursery.start_soon(turns.count)
        async with trio.open_nursery() as reading:
            reading.start_soon(trio.to_thread.run_sync, read_all)
            for _ in range(40):
                await server.write(bytes(YIELD_BYTES // 4))
        assert turns.taken >= 9
        nursery.cancel_scope.cancel()
