"""Nobody makes the server wait by taking nothing, whatever it is that is sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from disco.settings import Limits
from disco.web.hypercorn_connection import ContainedConnection


class Protocol:
    """Stands for hypercorn's: it hears what becomes of the connection."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def handle(self, event: Any) -> None:
        self.heard.append(type(event))


def to_a_reader_that_reads_nothing() -> tuple[ContainedConnection, Protocol]:
    """Make a connection whose other end takes no byte."""
    stream, _ = trio.testing.lockstep_stream_pair()
    app: Any = ASGIWrapper(None)  # type: ignore[arg-type]  # nothing is asked of it
    state: Any = ConnectionState({})
    connection = ContainedConnection(app, Config(), WorkerContext(None), state, stream)  # type: ignore[arg-type]
    protocol = Protocol()
    connection.protocol = protocol  # type: ignore[assignment]
    return connection, protocol


async def test_a_reader_that_takes_nothing_is_cut_after_the_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    connection, protocol = to_a_reader_that_reads_nothing()
    await connection.protocol_send(RawData(b"an answer to a ping"))
    assert trio.current_time() == pytest.approx(Limits().send)
    assert protocol.heard == [Closed]


async def test_a_server_that_stops_waits_for_no_reader(autojump_clock: trio.testing.MockClock) -> None:
    connection, _ = to_a_reader_that_reads_nothing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.protocol_send, RawData(b"an answer to a ping"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 0.0
