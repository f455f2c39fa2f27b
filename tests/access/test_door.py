"""How many WebSockets may be open, how quickly they may come, and whose address counts."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from disco.errors import TooMany
from disco.settings import Access, Limits, Settings
from disco.web.callers import Asked, group_of
from disco.web.door import BURST_SECONDS, SPARE, Door
from tests.access.http import ask
from tests.conftest import ServerFactory
from tests.isolation.test_stopping import PARAMETERS, post_large_task
from tests.web.clients import PATIENCE, connected, upgrade, v2

THERE, HERE = "203.0.113.7", "127.0.0.1"


def scope(client: str = THERE, server: str = "192.0.2.1", **headers: str) -> dict[str, Any]:
    encoded = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": (client, 1), "server": (server, 80), "headers": encoded}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(connections=2), "limits.connections"),
        (Limits(connections_per_address=2), "limits.connections_per_address"),
    ],
)
def test_one_more_than_the_limit_is_refused_until_one_has_left(limits: Limits, name: str) -> None:
    door = Door(limits)
    with ExitStack() as two:
        for _ in range(2):
            two.enter_context(door.entered(THERE, 0.0))
        with pytest.raises(TooMany, match=f"{name}, 2,"), door.entered(THERE, 0.0):
            pass
        assert door.inside == 2
    with door.entered(THERE, 0.0):
        assert door.inside == 1
    assert door.inside == 0


def test_joins_are_limited_by_the_second_with_room_for_a_burst() -> None:
    door = Door(Limits(joins_per_second=3))
    for _ in range(3 * BURST_SECONDS):
        with door.entered(THERE, 10.0):
            pass
    with pytest.raises(TooMany, match=r"limits\.joins_per_second, 3"), door.entered(THERE, 10.0):
        pass
    with door.entered("198.51.100.1", 10.0), door.entered(THERE, 10.4):
        pass


def test_an_address_may_have_a_few_connections_more_than_websockets() -> None:
    door = Door(Limits(connections_per_address=1))
    with ExitStack() as all_of_them:
        for _ in range(1 + SPARE):
            all_of_them.enter_context(door.connected(THERE))
        with pytest.raises(TooMany, match=r"limits\.connections_per_address"), door.connected(THERE):
            pass
        with door.connected("198.51.100.1"):
            pass
    with door.connected(THERE):
        pass


async def test_an_address_with_too_many_connections_gets_no_more(
    start: ServerFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.web.door.is_loopback", lambda address: False)
    monkeypatch.setattr("disco.web.door.SPARE", 1)
    async with start(limits=replace(settings.limits, connections_per_address=1)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as first:
            await first.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await first.receive_some()
            async with await trio.open_tcp_stream(host, int(port)) as second:
                await second.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 200 " in await second.receive_some()
                async with await trio.open_tcp_stream(host, int(port)) as third:
                    with trio.fail_after(PATIENCE):
                        assert await _ends(third)


async def _ends(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


async def test_half_a_request_is_not_waited_for(
    start: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypercorn.config.Config.keep_alive_timeout", 0.3)
    async with start() as server:
        host, port = server.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream, trio.open_nursery() as nursery:

            async def dribble() -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10_000:
                        await stream.send_all(bytes((byte,)))
                        await trio.sleep(0.02)

            nursery.start_soon(dribble)
            with trio.fail_after(PATIENCE):
                assert await _ends(stream)
            nursery.cancel_scope.cancel()


def test_this_machine_counts_in_the_whole_only() -> None:
    door = Door(Limits(connections=3, connections_per_address=1, joins_per_second=1))
    with ExitStack() as three:
        for _ in range(3):
            three.enter_context(door.entered(HERE, 0.0))
        with pytest.raises(TooMany), door.entered(HERE, 0.0):
            pass


def test_memory_does_not_grow_with_the_addresses_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.web.door.REMEMBERED", 10)
    door = Door(Limits())
    for number in range(100):
        with door.entered(f"198.51.100.{number}", 0.0):
            pass
    assert len(door._rates) == 10
    assert not door._by_address


def test_the_addresses_of_one_ipv6_network_are_one() -> None:
    assert group_of("2001:db8:1:2::1") == group_of("2001:db8:1:2:ffff::9") != group_of("2001:db8:1:3::1")
    assert group_of("::ffff:203.0.113.7") == THERE


PROXY = "10.0.0.1"
TRUSTING = Settings(access=Access(trusted_proxies="10.0.0.0/8, ::1")).trusted_proxies


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        (PROXY, "203.0.113.7", "203.0.113.7"),
        (PROXY, "1.1.1.1, 203.0.113.7", "203.0.113.7"),
        (PROXY, "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (PROXY, None, PROXY),
        (PROXY, "", PROXY),
        (THERE, "1.1.1.1", THERE),
    ],
    ids=["one proxy", "the client lies", "two proxies", "no header", "an empty header", "no proxy of ours"],
)
def test_a_header_counts_as_far_as_trusted_proxies_wrote_it(
    client: str, forwarded: str | None, address: str
) -> None:
    headers = {} if forwarded is None else {"X_Forwarded_For": forwarded}
    assert Asked.read(scope(client, **headers), TRUSTING).address == address


def test_nobodys_header_counts_unless_told() -> None:
    assert Asked.read(scope(PROXY, X_Forwarded_For="1.1.1.1")).address == PROXY


@pytest.mark.parametrize(
    ("client", "server", "host", "local"),
    [
        (HERE, HERE, "127.0.0.1:8080", True),
        (HERE, HERE, "localhost", True),
        ("::1", "::1", "[::1]:8080", True),
        (THERE, "192.0.2.1", "localhost", False),
        (HERE, HERE, "evil.example", False),
        (HERE, HERE, "", False),
    ],
)
def test_local_is_who_asks_from_here_for_a_name_of_here(
    client: str, server: str, host: str, local: bool
) -> None:
    assert Asked.read(scope(client, server, Host=host)).local is local


@pytest.mark.parametrize("wrong", ["http://[::1", "//[", "http://[zz]/", "\x00", "null"])
def test_what_is_no_address_is_nobodys(wrong: str) -> None:
    asked = Asked.read(scope(HERE, HERE, Origin=wrong, Host=wrong))
    assert (asked.local, asked.same_site) == (False, False)


async def test_who_says_nothing_on_any_path_is_let_go(start: ServerFactory, settings: Settings) -> None:
    async with start(limits=replace(settings.limits, first_message=0.1)) as server:
        for path in ("/federated/tiny", f"/feai/tiny/{uuid.uuid4()}", "/deai/tiny"):
            async with connected(server.ws + path) as silent:
                code, reason = await silent.goodbye()
                assert (code, "limits.first_message, 0.1 s" in reason) == (1008, True)


async def test_a_reader_of_a_large_model_that_reads_nothing_is_let_go(
    start: ServerFactory, settings: Settings
) -> None:
    async with start(limits=replace(settings.limits, send=0.2)) as server:
        await trio.to_thread.run_sync(post_large_task, server.url)
        host, port = server.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GET /tasks/large/weights.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.sleep(1.0)  # reads nothing for longer than the limit, which is the point
            received = 0
            with trio.fail_after(PATIENCE):
                try:
                    while more := await stream.receive_some(1 << 20):
                        received += len(more)
                except trio.BrokenResourceError:
                    pass
            assert received < 4 * PARAMETERS


async def test_a_refusal_at_the_door_is_429_and_names_the_limit(
    start: ServerFactory, settings: Settings
) -> None:
    limits = replace(settings.limits, connections_per_address=1)
    async with start(limits=limits, access=Access(trusted_proxies="127.0.0.1")) as server:
        url = server.ws + "/federated/tiny"
        async with open_websocket_url(url, extra_headers=[(b"X-Forwarded-For", THERE.encode())]):
            status, body = await upgrade(url, f"X-Forwarded-For: {THERE}\r\n")
            assert (status, "limits.connections_per_address, 1," in body) == (429, True)
            assert (await upgrade(url, "X-Forwarded-For: 198.51.100.1\r\n"))[0] == 101


async def test_behind_a_proxy_nobody_is_this_machine(start: ServerFactory) -> None:
    async with start(access=Access(trusted_proxies="127.0.0.1")) as server:
        assert (await ask(server.url + "/tasks", "POST", b"{}")).status == 401


async def test_the_total_is_refused_over_a_real_socket(start: ServerFactory, settings: Settings) -> None:
    async with start(limits=replace(settings.limits, connections=1)) as server, v2(server.ws) as one:
        status, body = await upgrade(server.ws + "/federated/tiny")
        assert (status, "limits.connections, 1," in body) == (429, True)
        assert (await one.ask(type=11))["round"] == 0


async def test_who_asks_for_the_connection_to_be_closed_sees_it_closed(server: Any) -> None:
    assert (await ask(server.url + "/tasks")).status == 200  # reads to the connection's end
