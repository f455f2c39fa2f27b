"""What HTTP requests bring is bounded, each and together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import trio

from disco.runtime.budget import Budget
from disco.settings import Settings
from disco.web.http_edge import UNREAD_BYTES
from tests.access.http import ask
from tests.conftest import Server, ServerFactory
from tests.web.clients import PATIENCE
from tests.web.test_tasks import task

MIB = 1024 * 1024


async def connect(server: Server) -> trio.SocketStream:
    host, port = server.url.removeprefix("http://").split(":")
    return await trio.open_tcp_stream(host, int(port))


async def test_a_page_that_watches_cannot_make_the_server_keep_what_it_sends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    class Counting(server.app.request_class.body_class):  # type: ignore[name-defined,misc]
        def append(self, data: bytes) -> None:
            super().append(data)
            kept.append(len(self._data))

    monkeypatch.setattr(server.app.request_class, "body_class", Counting)
    async with await connect(server) as page:
        await page.send_all(
            b"GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (16 * MIB) + bytes(8 * MIB)
        )
        received = b""
        with trio.fail_after(PATIENCE):
            while b"event: state" not in received:
                received += await page.receive_some()
            while len(kept) < 8 * MIB / (64 * 1024) / 2:  # noqa: ASYNC110  # no event tells of this
                await trio.sleep(0.01)
    assert max(kept) < 4 * UNREAD_BYTES


def _has_taken(budget: Budget, size: int) -> bool:
    return budget.taken_bytes == size


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not holds():  # noqa: ASYNC110  # no event tells of this
            await trio.sleep(0.01)


async def test_bodies_wait_for_room_and_are_taken_when_there_is(
    start: ServerFactory, settings: Settings
) -> None:
    padding = base64.b64encode(bytes(600_000)).decode()
    body = json.dumps({"task": task("posted"), "more": padding}).encode()
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    async with start(limits=replace(settings.limits, bytes_in_flight=MIB)) as server:
        budget = server.app.lobby.budget
        async with await connect(server) as one, await connect(server) as two, await connect(server) as three:
            # The second is let over the limit, as it holds room and would wait for itself; the third is not. One after
            # the other: if both came at once, the first might be let over it, and the second would have to wait.
            for number, each in enumerate((one, two), 1):
                with trio.fail_after(PATIENCE):
                    await each.send_all(head % len(body) + body[:-1])
                await until(partial(_has_taken, budget, number * (len(body) - 1)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(three.send_all, head % len(body) + body)
                await until(lambda: budget.waiting == 1)
                assert (await ask(server.url + "/healthz")).status == 200
                for each in (one, two):
                    await each.send_all(body[-1:])
                with trio.fail_after(PATIENCE):
                    for each in (one, two, three):
                        assert b" 422 " in await each.receive_some()
        assert budget.peak_bytes < 3 * MIB
        await until(lambda: budget.taken_bytes == 0)
