from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn.protocol import h11
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)

from disco.errors import LimitExceeded
from disco.web import hypercorn_seam
from disco.web.hypercorn_seam import EXTENSION
from disco.web.hypercorn_stream import find_origin
from tests.runtime.client_frames import KEY, frame, header

MIB = 1024 * 1024
App: TypeAlias = Callable[[Any, Any, Any], Any]
#: Members of an Enum cannot be taken away.
REMOVABLE = [name for name in hypercorn_seam.NAMES if "ASGIWebsocketState" not in name]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Install the seam for each test; leave it installed, as importing the app does."""
    assert hypercorn_seam.install()
    yield
    assert hypercorn_seam.install()


@asynccontextmanager
async def serving(app: App, **options: Any) -> AsyncIterator[str]:
    """Serve WebSockets with `app` and HTTP with a greeting; the URL without a scheme."""

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"hello"})
        else:
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    for name, value in options.items():
        setattr(config, name, value)
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(hypercorn.trio.serve, whole, config))
        yield url.partition("://")[2]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[WebSocketConnection]:
    """Connect by trio-websocket, on a stream of our own: it leaves its own open when the server closes first."""
    host, _, port = address.partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    try:
        async with trio.open_nursery() as nursery:
            client = await wrap_client_stream(nursery, stream, address, "/", **options)
            yield client
            await client.aclose()
    finally:
        await trio.aclose_forcefully(stream)


async def upgrade(address: str, *headers: str) -> tuple[trio.SocketStream, str]:
    """Ask for a WebSocket without any library; return the connection and the head of the answer."""
    host, _, port = address.partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(upgrade_request(*headers))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive_some(1)
    return stream, answer.decode()


def upgrade_request(*headers: str) -> bytes:
    lines = ["GET / HTTP/1.1", "Host: here", "Connection: Upgrade", "Upgrade: websocket", *headers]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
    return "\r\n".join(lines).encode()


async def receive_all(stream: trio.SocketStream) -> bytes:
    return b"".join([data async for data in stream])


async def fast_echo(scope: Any, receive: Any, send: Any) -> None:
    transport = await scope["extensions"][EXTENSION].accept(limit_bytes=8 * MIB)
    while (message := await transport.receive()) is not None:
        await transport.send(message)


async def plain_echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": event["bytes"], "text": event["text"]})


def test_hypercorns_names_are_where_they_were() -> None:
    assert hypercorn_seam.moved_names() == []


@pytest.mark.parametrize("name", REMOVABLE)
def test_a_name_that_moved_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, path = name.partition(":")
    *parents, leaf = path.split(".")
    monkeypatch.delattr(".".join(("hypercorn", module, *parents, leaf)))
    assert any(moved.partition(".")[0] in name for moved in hypercorn_seam.moved_names())


def test_hypercorn_is_left_alone_when_its_names_have_moved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hypercorn_seam.remove()
    stock = h11.WSStream  # type: ignore[attr-defined]
    monkeypatch.setitem(hypercorn_seam.NAMES, "protocol.h11:Elsewhere", None)
    assert not hypercorn_seam.install()
    assert h11.WSStream is stock  # type: ignore[attr-defined]
    assert "protocol.h11:Elsewhere" in caplog.text


def test_another_series_of_hypercorn_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypercorn_seam, "version", lambda _: "0.19.0")
    assert not hypercorn_seam.install()


def test_without_a_connection_of_trios_worker_nothing_is_offered() -> None:
    async def send(event: Any) -> None: ...

    assert find_origin(send) is None


@pytest.mark.parametrize("app", [fast_echo, plain_echo])
async def test_messages_come_back_with_and_without_the_extension(app: App) -> None:
    async with serving(app) as address, connected(address, max_message_size=8 * MIB) as client:
        for size in (1, 125, 126, 65_536, 3_000_000):
            message = os.urandom(size)
            await client.send_message(message)
            assert await client.get_message() == message


async def test_without_the_seam_nothing_is_offered_and_plain_asgi_works() -> None:
    hypercorn_seam.remove()
    offered: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        offered.append(EXTENSION in scope["extensions"])
        await plain_echo(scope, receive, send)

    async with serving(app) as address, connected(address) as client:
        await client.send_message(b"hello")
        assert await client.get_message() == b"hello"
    assert offered == [False]


async def test_compression_is_declined() -> None:
    async with serving(fast_echo) as address:
        stream, answer = await upgrade(address, "Sec-WebSocket-Extensions: permessage-deflate")
        async with stream:
            assert answer.startswith("HTTP/1.1 101")
            assert "permessage-deflate" not in answer.lower()


async def test_a_subprotocol_and_headers_reach_the_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][EXTENSION].accept("v4", [(b"x-served-by", b"disco")])

    async with serving(app) as address:
        stream, answer = await upgrade(address, "Sec-WebSocket-Protocol: v3, v4")
        async with stream:
            assert "sec-websocket-protocol: v4" in answer.lower()
            assert "x-served-by: disco" in answer.lower()


async def test_an_app_may_refuse_before_the_upgrade() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no such task"})

    async with serving(app) as address:
        stream, answer = await upgrade(address)
        async with stream:
            assert answer.startswith("HTTP/1.1 404")
            assert b"no such task" in await receive_all(stream)


async def test_a_request_can_be_answered_only_once() -> None:
    outcome: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][EXTENSION].accept()
        try:
            await scope["extensions"][EXTENSION].accept()
        except RuntimeError as error:
            outcome.append(error)

    async with serving(app) as address:
        stream, _ = await upgrade(address)
        async with stream:
            await stream.send_all(frame(8, b""))
            await receive_all(stream)
    assert len(outcome) == 1


async def test_frames_sent_along_with_the_request_are_received() -> None:
    async with serving(fast_echo) as address:
        host, _, port = address.partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(upgrade_request() + frame(2, b"in a hurry") + frame(8, b""))
            assert (await receive_all(stream)).endswith(b"\r\n\r\n\x82\x0ain a hurry\x88\x00")


async def test_an_app_that_ends_without_closing_leaves_1011() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][EXTENSION].accept()

    async with serving(app) as address, connected(address) as client:
        with pytest.raises(ConnectionClosed):
            await client.get_message()
        assert client.closed is not None
        assert client.closed.code == 1011


async def test_an_app_that_crashes_leaves_1011_and_the_server_goes_on() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept()
        if await transport.receive() == b"crash":
            raise ValueError("on purpose")
        await transport.send(b"fine")

    async with serving(app) as address:
        async with connected(address) as client:
            await client.send_message(b"crash")
            with pytest.raises(ConnectionClosed):
                await client.get_message()
            assert client.closed is not None
            assert client.closed.code == 1011
        async with connected(address) as client:
            await client.send_message(b"again")
            assert await client.get_message() == b"fine"


async def test_an_app_that_crashes_before_it_answers_leaves_500() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("on purpose")

    async with serving(app) as address:
        stream, answer = await upgrade(address)
        async with stream:
            assert answer.startswith("HTTP/1.1 500")


async def test_the_app_learns_that_its_client_has_gone_amid_a_message() -> None:
    ended = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept()
        assert await transport.receive() is None
        ended.set()

    async with serving(app) as address:
        stream, _ = await upgrade(address)
        await stream.send_all(header(2, 1_000_000) + KEY + bytes(1000))
        await stream.aclose()
        with trio.fail_after(5):
            await ended.wait()


async def test_a_claim_over_the_limit_is_refused_at_once() -> None:
    refused: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept(limit_bytes=1000)
        try:
            await transport.receive()
        except LimitExceeded as error:
            refused.append(error)
            await transport.close(1009, str(error))

    async with serving(app) as address:
        stream, _ = await upgrade(address)
        async with stream:
            await stream.send_all(header(2, 1001) + KEY)
            assert (await receive_all(stream)).startswith(b"\x88")
    assert len(refused) == 1


async def test_a_client_that_is_sending_too_much_still_learns_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept(limit_bytes=1000)
        with pytest.raises(LimitExceeded):
            await transport.receive()

    async with serving(app) as address, connected(address) as client:
        with suppress(ConnectionClosed):
            await client.send_message(bytes(20 * MIB))
        with pytest.raises(ConnectionClosed):
            await client.get_message()
        assert client.closed is not None
        assert client.closed.code == 1009


async def test_hypercorns_own_limit_and_pings_are_the_defaults() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept()
        await transport.receive()

    async with serving(app, websocket_max_message_size=500, websocket_ping_interval=0.01) as address:
        stream, _ = await upgrade(address)
        async with stream:
            assert await stream.receive_some(2) == b"\x89\x00"
            await stream.send_all(header(2, 501) + KEY)
            data = await receive_all(stream)
            assert b"a message is longer than 500 bytes" in data


def left_alone(nursery: trio.Nursery, requests: list[str], serve: Callable[[Any], Any]) -> App:
    """Make an app that leaves what serves a WebSocket to a nursery; `requests` holds those that have not ended."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        requests.append(scope["path"])
        upgrade = scope["extensions"][EXTENSION]
        transport = await upgrade.accept(limit_bytes=8 * MIB)
        await upgrade.run(partial(serve, transport), nursery)
        requests.remove(scope["path"])

    return app


async def echo_alone(transport: Any) -> None:
    while (message := await transport.receive()) is not None:
        await transport.send(message)
    await transport.close(1000, "")


async def test_a_websocket_that_is_served_alone_outlives_its_request() -> None:
    requests: list[str] = []
    async with trio.open_nursery() as nursery, serving(left_alone(nursery, requests, echo_alone)) as address:
        async with connected(address) as client:
            for message in (b"", b"x" * 100_000, os.urandom(MIB)):
                await client.send_message(message)
                assert await client.get_message() == message
            assert requests == []
        with trio.fail_after(5):
            while nursery.child_tasks:
                await trio.lowlevel.checkpoint()


async def test_what_goes_wrong_in_a_websocket_that_is_served_alone_ends_it_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def crash(transport: Any) -> None:
        await transport.receive()
        raise ValueError("a fault of the app's")

    async with trio.open_nursery() as nursery, serving(left_alone(nursery, [], crash)) as address:
        async with connected(address) as client:
            await client.send_message(b"crash")
            with pytest.raises(ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1011
        async with connected(address) as another:
            await another.ping()
    assert "a fault of the app's" in caplog.text


async def test_http_is_served_beside_websockets() -> None:
    async with serving(fast_echo) as address, httpx.AsyncClient() as client, connected(address) as websocket:
        for _ in range(2):
            assert (await client.get(f"http://{address}/")).text == "hello"
        await websocket.send_message(b"still open")
        assert await websocket.get_message() == b"still open"


async def test_a_server_that_stops_does_not_wait_for_open_websockets() -> None:
    async with serving(fast_echo) as address:
        stream, _ = await upgrade(address)
        with trio.fail_after(5):
            async with stream:
                pass


async def test_messages_come_back_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        serving(
            fast_echo, certfile=str(certificate), keyfile=str(key), alpn_protocols=["http/1.1"]
        ) as address,
        open_websocket_url(
            f"wss://localhost:{address.rpartition(':')[2]}/", ssl_context=trust, max_message_size=8 * MIB
        ) as client,
    ):
        for size in (1, 3_000_000):
            message = os.urandom(size)
            await client.send_message(message)
            assert await client.get_message() == message


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost, and its key."""
    pytest.importorskip("cryptography")
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_path.write_bytes(secret.private_bytes(encoding, form, serialization.NoEncryption()))
    return certificate_path, key_path
