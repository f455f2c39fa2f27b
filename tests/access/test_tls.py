"""TLS through `disco serve`'s options: HTTP, and WebSockets."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest
import trio

from disco.errors import SettingsError
from disco.settings import Settings, Tls
from tests.access.certificates import self_signed
from tests.conftest import ServerFactory
from tests.web.clients import PATIENCE


@pytest.fixture
def certificate(tmp_path: Path) -> Tls:
    """A certificate of this machine's, signed by itself."""
    return self_signed(tmp_path)


async def secure(url: str, tls: Tls, *, with_certificate: bool = False) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context(cafile=str(tls.certfile))
    if with_certificate:
        context.load_cert_chain(str(tls.certfile), str(tls.keyfile))
    port = int(url.rpartition(":")[2])
    return await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context, https_compatible=True)


async def answer(stream: trio.SSLStream[trio.SocketStream], request: bytes) -> bytes:
    with trio.fail_after(PATIENCE):
        await stream.send_all(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
    return received


GET = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPGRADE = (
    b"GET /federated/tiny HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_certificate_makes_https_and_wss(start: ServerFactory, certificate: Tls) -> None:
    async with start(tls=certificate) as server:
        assert server.url.startswith("https://")
        async with await secure(server.url, certificate) as stream:
            received = await answer(stream, GET)
            assert received.startswith(b"HTTP/1.1 200")
            assert b"strict-transport-security" in received.lower()
        async with await secure(server.url, certificate) as stream:
            assert (await answer(stream, UPGRADE)).startswith(b"HTTP/1.1 101")


async def test_with_authorities_every_client_needs_a_certificate(
    start: ServerFactory, certificate: Tls
) -> None:
    async with start(tls=Tls(certificate.certfile, certificate.keyfile, certificate.certfile)) as server:
        async with await secure(server.url, certificate, with_certificate=True) as stream:
            assert (await answer(stream, GET)).startswith(b"HTTP/1.1 200")
        stream = await secure(server.url, certificate)
        with pytest.raises(trio.BrokenResourceError):
            await answer(stream, GET)
        await trio.aclose_forcefully(stream)


async def test_a_handshake_that_fails_is_logged_and_nobody_elses(
    start: ServerFactory, certificate: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(tls=certificate) as server:
        with caplog.at_level(logging.INFO, "disco.web"):
            stream = await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2]))
            async with stream:
                await stream.send_all(GET)
                with trio.fail_after(PATIENCE):
                    while await stream.receive_some():
                        pass
        assert "TLS handshake failed" in caplog.text
        async with await secure(server.url, certificate) as stream_:
            assert (await answer(stream_, GET)).startswith(b"HTTP/1.1 200")


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="DISCO_TLS_KEYFILE"):
        Settings.load(environ={"DISCO_TLS_KEYFILE": "server.key"})
