"""One connection on a transport in memory, with the clock held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from disco.core.effects import Effect, Send
from disco.core.events import Event, Joined, Left
from disco.core.messages import Enough
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.rate import TokenBucket
from disco.metrics import Metrics
from disco.runtime.connection import Connection
from disco.runtime.coordinator import Coordinator
from disco.runtime.lines import Line
from disco.runtime.outbox import Outbox
from disco.runtime.transport import AtOnce, Sent
from disco.settings import Limits
from disco.wire import DIALECTS
from disco.wire.dialect import Encoded, whole

ME = ParticipantID("me")
HELLO = msgpack.packb({"type": "ClientConnected"})


class Wire:
    """A transport whose other end is the test."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.put, self.get = trio.open_memory_channel[bytes | None](math.inf)
        self.sent: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.stuck = stuck

    async def receive(self, at_once: AtOnce | None = None) -> bytes | None:
        while True:
            data = await self.get.receive()
            if data is None or at_once is None or not at_once(data, trio.current_time()):
                return data

    async def send(self, data: Encoded) -> None:
        if self.stuck:
            await trio.sleep_forever()
        self.sent.append(whole(data))

    def send_now(self, *messages: bytes) -> Sent:
        return Sent.NOTHING

    async def flush(self) -> None:
        raise AssertionError("nothing was begun")

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class Script:
    """A session that answers as told and keeps what it heard."""

    deadline = math.inf

    def __init__(self, *effects: Effect) -> None:
        self.effects = effects
        self.heard: list[Event] = []

    def handle(self, event: Any, now: float) -> Sequence[Effect]:
        self.heard.append(event)
        return self.effects if isinstance(event, Joined) else ()


def connect(wire: Wire, session: Script, **limits: Any) -> tuple[Connection, Coordinator[Script]]:
    coordinator = Coordinator[Script](TaskID("t"), lambda _: session, None, Metrics(), lambda _: "all")
    connection = Connection(wire, coordinator, Scheme.FEDERATED, Limits(**limits))
    return connection, coordinator


async def test_a_silent_connection_is_closed_after_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    wire = Wire()
    connection, _ = connect(wire, Script(), first_message=7.0)
    await connection.serve(None, None)
    assert trio.current_time() == 7.0
    assert wire.closed == (1008, "no message within limits.first_message, 7 s")


async def test_a_reader_that_takes_nothing_is_let_go_after_its_limit(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire, session = Wire(stuck=True), Script(Send((ME,), Enough(2)))
    connection, coordinator = connect(wire, session, send=5.0)
    nursery.start_soon(coordinator.run)
    wire.put.send_nowait(HELLO)
    await connection.serve(ME, DIALECTS["v4"])
    assert trio.current_time() == 5.0
    nursery.cancel_scope.cancel()


async def test_everything_that_arrived_before_the_end_is_handled_and_then_leaving(
    nursery: trio.Nursery,
) -> None:
    wire, session = Wire(), Script()
    connection, coordinator = connect(wire, session)
    wire.put.send_nowait(HELLO)
    wire.put.send_nowait(HELLO)
    wire.put.send_nowait(None)
    nursery.start_soon(coordinator.run)
    await connection.serve(ME, DIALECTS["v4"])
    await trio.testing.wait_all_tasks_blocked()
    assert [type(event) for event in session.heard] == [Joined, Joined, Left]
    nursery.cancel_scope.cancel()


async def test_a_participant_has_left_only_when_its_last_connection_is_gone(nursery: trio.Nursery) -> None:
    session = Script()
    first, second = Wire(), Wire()
    one, coordinator = connect(first, session)
    two = Connection(second, coordinator, Scheme.FEDERATED, Limits())
    nursery.start_soon(coordinator.run)
    nursery.start_soon(one.serve, ME, DIALECTS["v4"])
    nursery.start_soon(two.serve, ME, DIALECTS["v4"])
    first.put.send_nowait(HELLO)
    second.put.send_nowait(HELLO)
    await trio.testing.wait_all_tasks_blocked()
    first.put.send_nowait(None)
    await trio.testing.wait_all_tasks_blocked()
    assert Left(ME) not in session.heard
    second.put.send_nowait(None)
    await trio.testing.wait_all_tasks_blocked()
    assert session.heard[-1] == Left(ME)
    nursery.cancel_scope.cancel()


async def test_nothing_is_sent_to_a_pushed_client_before_it_has_said_hello(nursery: trio.Nursery) -> None:
    wire, session = Wire(), Script(Send((ME, ParticipantID("early")), Enough(2)))
    connection, coordinator = connect(wire, session)
    early = Wire()
    other = Connection(early, coordinator, Scheme.FEDERATED, Limits())
    nursery.start_soon(coordinator.run)
    nursery.start_soon(other.serve, ParticipantID("early"), DIALECTS["v4"])
    nursery.start_soon(connection.serve, ME, DIALECTS["v4"])
    await trio.testing.wait_all_tasks_blocked()
    wire.put.send_nowait(HELLO)
    await trio.testing.wait_all_tasks_blocked()
    assert len(wire.sent) == 1
    assert early.sent == []
    nursery.cancel_scope.cancel()


async def test_messages_over_the_rate_cost_the_connection_with_the_limit_named() -> None:
    wire = Wire()
    _, coordinator = connect(wire, Script())
    connection = Connection(wire, coordinator, Scheme.FEDERATED, Limits(), allow=lambda now: False)
    wire.put.send_nowait(HELLO)
    await connection.serve(ME, DIALECTS["v4"])
    assert wire.closed is not None
    assert wire.closed[0] == 1008
    assert "limits.signals_per_second" in wire.closed[1]


async def test_messages_over_the_pace_wait_unread_and_none_is_lost(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire, session = Wire(), Script()
    _, coordinator = connect(wire, session)
    pace = TokenBucket(rate=10, burst=2).take
    connection = Connection(wire, coordinator, Scheme.FEDERATED, Limits(), pace=pace)
    nursery.start_soon(coordinator.run)
    for _ in range(6):
        wire.put.send_nowait(HELLO)
    wire.put.send_nowait(None)
    await connection.serve(ME, DIALECTS["v4"])
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == pytest.approx(0.4)
    assert [type(event) for event in session.heard] == [Joined] * 6 + [Left]
    nursery.cancel_scope.cancel()


async def test_who_joins_again_before_its_old_connection_is_gone_has_not_left(nursery: trio.Nursery) -> None:
    session = Script()
    _, coordinator = connect(Wire(), session)
    dialect = DIALECTS["v4"]
    old, new = (Line(ME, dialect, dialect.FORM, Outbox(8)) for _ in range(2))
    for line in (old, new):
        coordinator.attach(line)
    old.joined = True
    nursery.start_soon(coordinator.submit, Joined(ME), new)
    await trio.testing.wait_all_tasks_blocked()
    coordinator.detach(old)  # while the new one's hello still waits
    nursery.start_soon(coordinator.run)
    await trio.testing.wait_all_tasks_blocked()
    assert session.heard == [Joined(ME)]
    nursery.cancel_scope.cancel()
