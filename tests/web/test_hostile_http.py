"""Bytes that broke hypercorn itself: each may cost its sender the connection, and nobody else anything."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgpack
import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from h2.settings import SettingCodes, Settings

from tests.access.http import ask
from tests.conftest import Server
from tests.runtime.client_frames import frame
from tests.web.clients import PATIENCE, v4

Headers = Sequence[tuple[str | bytes, str | bytes]]

#: Requests over HTTP/2 that no client makes by mistake.
REQUESTS: dict[str, Headers] = {
    "CONNECT to nowhere": [(":method", "CONNECT"), (":authority", "x")],
    "a path that is not ASCII": [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", b"/\xff"),
        (":authority", "x"),
    ],
    "a method that is not ASCII": [
        (":method", b"\xff"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "x"),
    ],
    "no path": [(":method", "GET"), (":scheme", "http"), (":authority", "x")],
    "a length that is no number": [
        *[(":method", "POST"), (":scheme", "http"), (":path", "/tasks"), (":authority", "x")],
        ("content-length", "many"),
    ],
    "a host twice": [
        *[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")],
        ("host", "y"),
    ],
}

#: Bytes that are no request, or half of one.
BYTES: dict[str, bytes] = {
    "zeros": bytes(1000),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "the preface of HTTP/2 and zeros": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(1000),
    "half the preface": b"PRI * HTTP/2.0\r\n\r\n",
    "an upgrade to h2c with bad settings": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: \xff\xff\r\n\r\n",
    "an upgrade to h2c without settings": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an upgrade to nothing": b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade:\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "an upgrade without a key": b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "an upgrade of the year 2010": b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "a path of percent signs": b"GET /%%%ff%00%c3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a WebSocket's path that is not UTF-8": b"GET /federated/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "a negative length": b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a chunk of no size": b"POST /tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "a header of a megabyte": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "ten thousand headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
}


async def throw(server: Server, data: bytes) -> bytes:
    """Send bytes to a server, end, and return what it says to that."""
    host, port = server.url.removeprefix("http://").split(":")
    received = b""
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        with trio.fail_after(PATIENCE):
            try:
                await stream.send_all(data)
                await stream.send_eof()
                async for more in stream:
                    received += more
            except trio.BrokenResourceError:
                pass
    return received


async def request(
    server: Server, headers: Headers, then: Callable[[H2Connection], None] | None = None
) -> None:
    """Make a request over HTTP/2 that may be none, and do something when its answer has ended."""
    host, port = server.url.removeprefix("http://").split(":")
    client = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    client.initiate_connection()
    client.send_headers(1, headers, end_stream=then is None)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(client.data_to_send())
        with trio.fail_after(PATIENCE):
            async for data in stream:
                ended = any(isinstance(event, StreamEnded) for event in client.receive_data(bytes(data)))
                if ended and then is not None:
                    then(client)
                await stream.send_all(client.data_to_send())
                if ended:
                    return


async def goes_on(server: Server) -> bool:
    """Tell whether the server answers, and lets somebody in."""
    async with v4(server.ws):
        return (await ask(server.url + "/healthz")).status == 200


@pytest.mark.parametrize("data", BYTES.values(), ids=list(BYTES))
async def test_whatever_bytes_come_the_server_goes_on(server: Server, data: bytes) -> None:
    async with v4(server.ws) as bystander:
        await throw(server, data)
        assert await goes_on(server)
        await bystander.say(type="ClientConnected")
        assert (await bystander.hear_type("NewFederatedNodeInfo"))["id"]


@pytest.mark.parametrize("headers", REQUESTS.values(), ids=list(REQUESTS))
async def test_whatever_comes_over_http2_the_server_goes_on(server: Server, headers: Headers) -> None:
    await request(server, headers)
    assert await goes_on(server)


async def test_a_body_that_still_comes_after_its_answer_ends_nothing(server: Server) -> None:
    def send_on(client: H2Connection) -> None:
        client.send_data(1, bytes(1000))

    post = [(":method", "POST"), (":scheme", "http"), (":path", "/nothing"), (":authority", "127.0.0.1")]
    await request(server, post, send_on)
    assert await goes_on(server)


async def test_a_fault_on_one_connection_is_one_line_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await request(server, REQUESTS["a path that is not ASCII"])
        await goes_on(server)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "a connection was ended, as serving it failed"
    ]


# ── whoever vanishes ─────────────────────────────────────────────────────────────────────────────────────

PATHS = (
    b"/federated/tiny",
    b"/federated/nowhere",
    b"/decentralized/tiny",
    b"/events",
    b"/tasks/tiny/weights.bin",
)

LARGE = frame(2, bytes(70_000))


def babble(chance: random.Random) -> bytes:
    """Make the beginning of a conversation over HTTP/1.1, which may turn into nonsense anywhere."""
    path, hello = chance.choice(PATHS), msgpack.packb({"type": "ClientConnected"})
    said = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n"
    if b"/events" not in path and b"weights" not in path:
        said += b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        said += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    said += b"\r\n"
    for _ in range(chance.randrange(4)):
        payload = chance.choice((hello, hello[:5], chance.randbytes(200)))
        small = frame(chance.choice((0, 1, 2, 2, 2, 8, 9, 10)), payload, final=chance.random() < 0.8)
        said += chance.choice((small, small, LARGE))
    return said[: len(said) - chance.choice((0, 0, 3))]


def babble_over_http2(chance: random.Random) -> bytes:
    """Likewise over HTTP/2: a request, and frames (RFC 9113, section 4.1) of any type for any stream."""
    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    if chance.random() < 0.5:
        client.local_settings = Settings(client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.initiate_connection()
    headers = [(":scheme", "http"), (":path", chance.choice(PATHS).decode()), (":authority", "x")]
    if chance.random() < 0.7:
        headers = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            *headers,
            ("sec-websocket-version", "13"),
        ]
    else:
        headers = [(":method", chance.choice(("GET", "POST"))), *headers]
    client.send_headers(1, headers)
    said = client.data_to_send()
    for _ in range(chance.randrange(8)):
        payload = chance.randbytes(chance.choice((0, 4, 5, 8, 100, 3000)))
        kind, flags = chance.randrange(11), chance.choice((0, 1, 4, 5, 8, 255))
        said += (
            len(payload).to_bytes(3)
            + bytes((kind, flags))
            + chance.choice((0, 1, 1, 3)).to_bytes(4)
            + payload
        )
    return said


@pytest.mark.parametrize("say", [babble, babble_over_http2])
async def test_who_vanishes_leaves_nothing_behind(
    server: Server, say: Callable[[random.Random], bytes]
) -> None:
    chance = random.Random(7)
    host, port = server.url.removeprefix("http://").split(":")

    async def come_and_go() -> None:
        for _ in range(15):
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                with suppress(trio.BrokenResourceError), trio.move_on_after(0.02):
                    await stream.send_all(say(chance))
                    await stream.receive_some()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(come_and_go)
    lobby, viewers = server.app.lobby, server.app.extensions["disco.viewers"]
    with trio.fail_after(PATIENCE):
        while lobby.guests or lobby.door.inside or viewers.count or lobby.budget.taken_bytes:  # noqa: ASYNC110
            await trio.sleep(0.01)  # no event tells of all of these
    assert await goes_on(server)
