"""WebSockets over HTTP/2: the same frame layer, with the same limits, and a connection that survives its streams."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from disco.core.access import Role
from disco.errors import LimitExceeded
from disco.runtime.frames import BINARY, CLOSE, PING, PONG, parse_close
from disco.settings import Access
from disco.web.hypercorn_seam import EXTENSION
from tests.access.certificates import self_signed
from tests.access.http import ask, token_for
from tests.conftest import Server, ServerFactory
from tests.runtime.client_frames import KEY, frame, header
from tests.runtime.websocket_pairs import Client
from tests.web.clients import PATIENCE
from tests.web.h2_tunnel import tunnel
from tests.web.test_hypercorn_seam import fast_echo, serving

MIB = 1024 * 1024


def host(server: Server) -> str:
    return server.url.partition("://")[2]


async def closing(client: Client) -> tuple[int, str]:
    """Return the code and reason of the close frame that comes, past what comes before it."""
    with trio.fail_after(PATIENCE):
        while (found := await client.frame()) is not None:
            if found[0] == CLOSE:
                close = parse_close(found[1])
                return close.code, close.reason
    raise AssertionError("the stream ended without a close frame")


async def test_messages_come_back() -> None:
    async with serving(fast_echo) as address, tunnel(address) as stream:
        client = Client(stream)
        for size in (0, 1, 125, 126, 65_536, 3_000_000):
            message = os.urandom(size)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, frame(BINARY, message))
                with trio.fail_after(PATIENCE):
                    assert await client.frame() == (BINARY, message)


async def test_a_ping_is_answered() -> None:
    async with serving(fast_echo) as address, tunnel(address) as stream:
        await stream.send_all(frame(PING, b"there?"))
        assert await Client(stream).frame() == (PONG, b"there?")


async def test_a_close_is_answered_and_ends_the_stream_and_not_its_connection() -> None:
    async with serving(fast_echo) as address, tunnel(address) as stream:
        await stream.send_all(frame(CLOSE, (1000).to_bytes(2)))
        client = Client(stream)
        assert (await closing(client))[0] == 1000
        with trio.fail_after(PATIENCE):
            assert await client.frame() is None
            await stream.ping()


async def test_a_message_over_the_limit_is_refused_on_its_header_and_what_follows_is_dropped() -> None:
    refused = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept(limit_bytes=1000)
        with pytest.raises(LimitExceeded):
            await transport.receive()
        refused.set()

    async with serving(app) as address, tunnel(address) as stream:
        await stream.send_all(header(BINARY, 100 * MIB) + KEY)
        with trio.fail_after(PATIENCE):
            await refused.wait()
        assert (await closing(Client(stream)))[0] == 1009


async def test_compression_is_declined() -> None:
    offer = {"sec-websocket-extensions": "permessage-deflate"}
    async with serving(fast_echo) as address, tunnel(address, headers=offer) as stream:
        await stream.send_all(frame(BINARY, b"x", reserved=4))
        assert (await closing(Client(stream)))[0] == 1002


async def test_a_stream_that_is_reset_is_the_end_for_the_app() -> None:
    ended = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = await scope["extensions"][EXTENSION].accept(limit_bytes=MIB)
        assert await transport.receive() is None
        ended.set()

    async with serving(app) as address, tunnel(address) as stream:
        await stream.send_all(header(BINARY, 1000) + KEY + b"half")
        await stream.reset()
        with trio.fail_after(PATIENCE):
            await ended.wait()


async def test_an_app_that_ends_without_closing_leaves_1011() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][EXTENSION].accept(limit_bytes=MIB)

    async with serving(app) as address, tunnel(address) as stream:
        assert (await closing(Client(stream)))[0] == 1011


# ── Disco ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_participant_takes_part(server: Server) -> None:
    async with tunnel(host(server), "/federated/tiny") as stream:
        assert stream.status == 200
        await stream.send_all(frame(BINARY, msgpack.packb({"type": "ClientConnected"})))
        found = await Client(stream).frame()
        assert found is not None
        assert msgpack.unpackb(found[1])["type"] == "NewFederatedNodeInfo"
        session = server.app.directory.get("tiny").session
        assert session is not None
        assert len(session.present) == 1


async def test_what_is_no_message_is_refused_with_the_reason(server: Server) -> None:
    async with tunnel(host(server), "/federated/tiny") as stream:
        await stream.send_all(frame(BINARY, b"\xc1nonsense"))
        assert (await closing(Client(stream)))[0] in (1007, 1008)


async def test_a_refusal_comes_before_the_upgrade(start: ServerFactory) -> None:
    async with start(access=Access(join="token")) as server:
        async with tunnel(host(server), "/federated/tiny") as stream:
            assert stream.status == 401
        token = token_for(server.settings, Role.PARTICIPANT)
        shown = {"authorization": f"Bearer {token}"}
        async with tunnel(host(server), "/federated/tiny", shown) as stream:
            assert stream.status == 200


async def test_a_server_that_stops_says_so(start: ServerFactory) -> None:
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def serve(task_status: trio.TaskStatus[Server]) -> None:
            async with start() as server:
                task_status.started(server)
                await stop.wait()

        server = await nursery.start(serve)
        async with tunnel(host(server), "/federated/tiny") as stream:
            stop.set()
            assert await closing(Client(stream)) == (1001, "the server is stopping")


async def test_over_tls_the_browsers_way(tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(tls.certfile))
    options = {"certfile": str(tls.certfile), "keyfile": str(tls.keyfile)}
    async with serving(fast_echo, **options) as address, tunnel(address, trust=trust) as stream:
        await stream.send_all(frame(BINARY, b"hello"))
        assert await Client(stream).frame() == (BINARY, b"hello")


async def test_who_does_not_read_its_refusal_takes_nobodys_place(server: Server) -> None:
    async with tunnel(host(server), "/federated/nowhere", window=0) as stream:
        assert stream.status == 404
        assert server.app.lobby.door.inside == 0


async def test_nothing_waits_for_a_client_that_is_gone() -> None:
    refused = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no such task"})
        refused.set()

    async with serving(app) as address:
        async with tunnel(address, window=0) as stream:
            assert stream.status == 404
            await stream.ping()
            assert not refused.is_set()
        with trio.fail_after(PATIENCE):
            await refused.wait()


async def test_plain_requests_are_answered_beside(server: Server) -> None:
    async with tunnel(host(server), "/federated/tiny"):
        assert (await ask(server.url + "/healthz")).status == 200
