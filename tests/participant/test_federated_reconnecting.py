"""What a participant does when its connection is lost: it comes back, and nothing counts twice."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import trio
import trio.testing

from disco.core.events import Left
from disco.core.federated import FederatedSession
from disco.core.names import ParticipantID
from disco.errors import ConnectionLost
from disco.participant import News, NewsKind, Participant
from tests.conftest import Server, ServerFactory
from tests.participant.together import contribute, exchange_together, filled


class Cable:
    """A TCP connection to a server that can be pulled out, and put in again."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._plugged = True
        self._open: list[trio.SocketStream] = []
        self.url = ""

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            task_status.started()
            await trio.serve_listeners(self._carry, [listener], handler_nursery=nursery)

    async def pull(self) -> None:
        """Cut every connection, and let none through until `plug`."""
        self._plugged = False
        for stream in self._open:
            await trio.aclose_forcefully(stream)
        self._open.clear()

    def plug(self) -> None:
        self._plugged = True

    async def _carry(self, client: trio.SocketStream) -> None:
        if not self._plugged:
            await trio.aclose_forcefully(client)
            return
        server = await trio.open_tcp_stream(self._target.hostname or "", self._target.port or 0)
        self._open += [client, server]
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server)
            nursery.start_soon(self._pass_on, server, client)

    async def _pass_on(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            async for data in source:
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(source)
            await trio.aclose_forcefully(target)


@pytest.fixture
async def cable(server: Server) -> AsyncIterator[Cable]:
    """A cable to the server."""
    made = Cable(server.url)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def contributing(participant: Participant, value: float) -> AsyncIterator[list[np.ndarray]]:
    """Have a participant contribute in the background; the block's end waits for its result, in the list."""
    result: list[np.ndarray] = []

    async def run() -> None:
        result.extend(await contribute(participant, value))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield result


async def counted(server: Server, contributions: int) -> None:
    """Wait until so many contributions are in the current round."""
    session = server.app.directory.get("tiny").session
    assert session is not None
    with trio.fail_after(10):
        while len(session.contributors) < contributions:  # noqa: ASYNC110  # no event tells of this
            await trio.sleep(0.01)


def rounds_of(server: Server) -> list[int]:
    """The current round, and the contributions that were counted over all rounds before it."""
    session = server.app.directory.get("tiny").session
    assert isinstance(session, FederatedSession)
    return [session.round, session._totals.contributions]


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_a_cut_after_contributing_counts_once(server: Server, cable: Cable, dialect: str) -> None:
    async with (
        Participant(cable.url, "tiny", dialect=dialect) as one,
        Participant(server.url, "tiny") as two,
    ):
        async with contributing(one, 1.0) as result:
            await counted(server, 1)
            await cable.pull()
            cable.plug()
            await contribute(two, 4.0)
        np.testing.assert_array_equal(result[0], filled(one, 2.5)[0])
        assert rounds_of(server) == [1, 2]


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_a_round_that_closed_during_the_cut_gives_its_model(
    server: Server, cable: Cable, dialect: str
) -> None:
    async with (
        Participant(cable.url, "tiny", dialect=dialect) as one,
        Participant(server.url, "tiny") as two,
        Participant(server.url, "tiny") as three,
    ):
        async with contributing(one, 1.0) as result:
            await counted(server, 1)
            await cable.pull()
            await exchange_together({two: 4.0, three: 7.0})
            cable.plug()
        np.testing.assert_array_equal(result[0], filled(one, 4.0)[0])
        assert one.round == 1
        assert rounds_of(server) == [1, 3]


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_a_contribution_made_while_cut_is_sent_on_return(
    server: Server, cable: Cable, dialect: str
) -> None:
    async with (
        Participant(cable.url, "tiny", dialect=dialect) as one,
        Participant(server.url, "tiny") as two,
    ):
        await cable.pull()
        async with contributing(one, 1.0) as result:
            await trio.testing.wait_all_tasks_blocked()
            cable.plug()
            await counted(server, 1)
            await contribute(two, 4.0)
        np.testing.assert_array_equal(result[0], filled(one, 2.5)[0])


async def test_it_comes_back_under_its_own_name(server: Server, cable: Cable) -> None:
    async with Participant(cable.url, "tiny") as one, Participant(server.url, "tiny") as two:
        identity = one.identity
        await cable.pull()
        cable.plug()
        async with contributing(one, 1.0):
            await counted(server, 1)
            session = server.app.directory.get("tiny").session
            assert session is not None
            assert list(session.contributors) == [identity]
            await contribute(two, 2.0)


async def test_who_was_forgotten_by_the_server_says_hello_again(server: Server) -> None:
    async with Participant(server.url, "tiny") as one, Participant(server.url, "tiny") as two:
        session = server.app.directory.get("tiny").session
        assert session is not None
        session.handle(Left(ParticipantID(one.identity or "")), trio.current_time())
        models = await exchange_together({one: 1.0, two: 4.0})
    np.testing.assert_array_equal(models[0][0], filled(one, 2.5)[0])


async def test_losing_and_finding_the_server_is_said(
    server: Server, cable: Cable, caplog: pytest.LogCaptureFixture
) -> None:
    news: list[News] = []
    async with (
        Participant(cable.url, "tiny", on_news=news.append) as one,
        Participant(server.url, "tiny") as two,
    ):
        with caplog.at_level(logging.WARNING, "disco.participant"):
            await cable.pull()
            cable.plug()
            await exchange_together({one: 1.0, two: 2.0})
    assert [item.kind for item in news if item.kind.startswith("reconnect")] == [
        NewsKind.RECONNECTING,
        NewsKind.RECONNECTED,
    ]
    assert "connection lost" in caplog.text
    assert "connected again" in caplog.text


async def test_a_server_that_is_gone_for_good_is_an_error_once_patience_ends(
    server: Server, cable: Cable
) -> None:
    async with Participant(cable.url, "tiny", patience=0.3) as one:
        await cable.pull()
        with trio.fail_after(10), pytest.raises(ConnectionLost, match="is gone"):
            await contribute(one, 1.0)


async def test_v3_cannot_come_back_and_says_so_instead_of_counting_twice(
    server: Server, cable: Cable
) -> None:
    async def cut_once_counted() -> None:
        await counted(server, 1)
        await cable.pull()

    async with Participant(cable.url, "tiny", dialect="v3") as one, trio.open_nursery() as nursery:
        nursery.start_soon(cut_once_counted)
        with trio.fail_after(10), pytest.raises(ConnectionLost, match="cannot tell whether it counts"):
            await contribute(one, 1.0)


class Life:
    """One life of a server, which ends when it is told to."""

    def __init__(self) -> None:
        self._end = trio.Event()
        self._ended = trio.Event()

    async def run(self, start: ServerFactory, port: int, task_status: trio.TaskStatus[Server]) -> None:
        async with start(port=port) as server:
            task_status.started(server)
            await self._end.wait()
        self._ended.set()

    async def end(self) -> None:
        self._end.set()
        await self._ended.wait()


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_a_restarted_server_is_found_again_and_each_contribution_counts_once(
    start: ServerFactory, dialect: str
) -> None:
    first, second = Life(), Life()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(first.run, start, 0)
        async with (
            Participant(server.url, "tiny", dialect=dialect) as one,
            Participant(server.url, "tiny", dialect=dialect) as two,
        ):
            await exchange_together({one: 10.0, two: 20.0})
            async with contributing(one, 1.0) as result:
                await counted(server, 1)
                await first.end()
                server = await nursery.start(second.run, start, urlsplit(server.url).port)
                models = await exchange_together({two: 4.0})
            np.testing.assert_array_equal(result[0], filled(one, 2.5)[0])
            np.testing.assert_array_equal(models[0][0], filled(one, 2.5)[0])
            assert rounds_of(server) == [2, 4]
        await second.end()
