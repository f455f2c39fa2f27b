"""Connections at rest: small messages are dealt with by the poll's own task, and everything else as ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as some
from trio.testing import MockClock, wait_all_tasks_blocked

from disco.errors import LimitExceeded, MalformedFrame, ProtocolViolation, TextMessage
from disco.runtime import byte_stream
from disco.runtime.fast_websocket import FastWebSocket
from disco.runtime.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from disco.runtime.patience import Patience
from disco.runtime.poll import AVAILABLE, Poll
from disco.runtime.transport import Received
from disco.runtime.turn import Turn
from tests.runtime.client_frames import KEY, frame, header
from tests.runtime.websocket_pairs import LIMIT, Client, socket_pair

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no epoll")

LARGE = bytes(range(256)) * 1200  # well over what is dealt with at once


class Desk:
    """Deals with every message of up to 100 bytes, and keeps it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.tasks: set[trio.lowlevel.Task] = set()

    def __call__(self, data: Received, now: float) -> bool:
        if len(data) > 100:
            return False
        self.messages.append(bytes(data))
        self.tasks.add(trio.lowlevel.current_task())
        return True


@dataclass
class Rest:
    """Two connections whose server's ends have one poll; `nursery` is cancelled and all is closed at the end."""

    nursery: trio.Nursery
    polling: trio.CancelScope
    ends: list[trio.SocketStream]
    poll: Poll
    turn: Turn

    def connect(self, **options: Any) -> tuple[FastWebSocket, Client]:
        """Connect by TCP."""
        client, server = socket_pair()
        self.ends += [client, server]
        return FastWebSocket(byte_stream.over(server), LIMIT, poll=self.poll, **options), Client(client)

    async def end_of(self, websocket: FastWebSocket, desk: Desk) -> trio.Event:
        """Let a connection wait for messages, and return what is set when there are no more."""
        ended = trio.Event()

        async def receive() -> None:
            assert await websocket.receive(desk) is None
            ended.set()

        self.nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        return ended


@asynccontextmanager
async def resting() -> AsyncIterator[Rest]:
    """Run a poll."""
    ends: list[trio.SocketStream] = []
    turn = Turn()
    poll = Poll(turn)
    try:
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
                with trio.CancelScope() as scope:
                    task_status.started(scope)
                    await poll.run()

            polling = await nursery.start(run)
            yield Rest(nursery, polling, ends, poll, turn)
            nursery.cancel_scope.cancel()
    finally:
        for end in ends:
            await trio.aclose_forcefully(end)


async def test_small_messages_are_dealt_with_while_their_task_sleeps() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk, receivers = Desk(), set()

        async def receive() -> None:
            receivers.add(trio.lowlevel.current_task())
            await websocket.receive(desk)

        rest.nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        for content in (b"one", b"two"):
            await client.send(frame(BINARY, content))
            await wait_all_tasks_blocked(0.01)
        assert desk.messages == [b"one", b"two"]
        assert not desk.tasks & receivers


async def test_what_is_not_dealt_with_is_returned() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk = Desk()
        await client.send(frame(BINARY, b"small") + frame(BINARY, b"x" * 101) + frame(BINARY, b"after"))
        assert await websocket.receive(desk) == b"x" * 101
        rest.nursery.start_soon(client.send, frame(BINARY, LARGE))
        assert await websocket.receive(desk) == LARGE
        assert desk.messages == [b"small", b"after"]


async def test_a_message_that_comes_bit_by_bit_is_whole() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk = Desk()
        rest.nursery.start_soon(websocket.receive, desk)
        data = frame(BINARY, b"a frag", final=False) + frame(PING, b"?") + frame(CONTINUATION, b"mented one")
        for index in range(len(data)):
            await client.send(data[index : index + 1])
            await wait_all_tasks_blocked()
        assert await client.frame() == (PONG, b"?")
        with trio.fail_after(5):
            while not desk.messages:
                await trio.lowlevel.checkpoint()
        assert desk.messages == [b"a fragmented one"]


async def test_the_end_is_the_end() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk = Desk()
        await client.send(frame(BINARY, b"last"))
        await client.stream.aclose()
        with trio.fail_after(5):
            assert await websocket.receive(desk) is None
        assert desk.messages == [b"last"]


async def test_a_close_frame_is_answered() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        rest.nursery.start_soon(websocket.receive, Desk())
        await wait_all_tasks_blocked()
        await client.send(frame(CLOSE, (1000).to_bytes(2)))
        assert await client.frame() == (CLOSE, (1000).to_bytes(2))


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\r\n", MalformedFrame),
        (frame(TEXT, b"{}"), TextMessage),
        (header(BINARY, LIMIT + 1) + KEY, LimitExceeded),
    ],
    ids=["no frames", "a text", "too long"],
)
async def test_what_may_not_come_is_refused(sent: bytes, error: type[Exception]) -> None:
    async with resting() as rest:
        websocket, client = rest.connect(patience=Patience(close=0.1))
        desk = Desk()
        await client.send(frame(BINARY, b"before") + sent)
        with pytest.raises(error):
            await websocket.receive(desk)
        assert desk.messages == [b"before"]
        found = await client.frame()
        assert found is not None
        assert found[0] == CLOSE


async def test_an_error_in_dealing_with_a_message_is_its_own_connections() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        other, another = rest.connect()
        desk = Desk()

        def stumble(data: Received, now: float) -> bool:
            raise ZeroDivisionError

        rest.nursery.start_soon(other.receive, desk)
        await client.send(frame(BINARY, b"a"))
        with pytest.raises(ZeroDivisionError):
            await websocket.receive(stumble)
        await another.send(frame(BINARY, b"b"))
        await wait_all_tasks_blocked(0.01)
        assert desk.messages == [b"b"]


async def test_who_is_cancelled_loses_nothing() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk = Desk()
        await client.send(frame(BINARY, b"x" * 101)[:50])
        with trio.move_on_after(0.01):
            await websocket.receive(desk)
        await client.send(frame(BINARY, b"x" * 101)[50:])
        assert await websocket.receive(desk) == b"x" * 101


async def test_closing_ends_what_waits_once_the_client_has_answered() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        desk = Desk()
        ended = await rest.end_of(websocket, desk)
        rest.nursery.start_soon(websocket.close, 1001, "")
        assert await client.frame() == (CLOSE, (1001).to_bytes(2))
        await client.send(frame(BINARY, b"crossed") + frame(CLOSE, (1001).to_bytes(2)))
        with trio.fail_after(5):
            await ended.wait()
        assert desk.messages == []


async def test_a_client_that_does_not_answer_is_let_go_while_its_reader_waits() -> None:
    async with resting() as rest:
        websocket, _ = rest.connect(patience=Patience(close=0.05))
        ended = await rest.end_of(websocket, Desk())
        with trio.fail_after(5):
            await websocket.close(1001, "")
            await ended.wait()


async def test_when_the_poll_ends_so_do_those_who_wait() -> None:
    async with resting() as rest:
        websocket, _ = rest.connect()
        ended = await rest.end_of(websocket, Desk())
        rest.polling.cancel()
        with trio.fail_after(5):
            await ended.wait()


async def test_who_talks_is_not_pinged_and_who_is_silent_is_pinged_and_then_given_up(
    autojump_clock: MockClock,
) -> None:
    async with resting() as rest:
        websocket, client = rest.connect(patience=Patience(ping=10, pong=5))
        desk = Desk()

        async def talk() -> None:
            for _ in range(5):
                await trio.sleep(9)
                await client.send(frame(BINARY, b"here"))

        rest.nursery.start_soon(talk)
        assert await websocket.receive(desk) is None
        assert desk.messages == [b"here"] * 5
        assert trio.current_time() == pytest.approx(45 + 10 + 5)
        assert await client.frame() == (PING, b"")


async def test_any_sign_of_life_after_a_ping_will_do(autojump_clock: MockClock) -> None:
    async with resting() as rest:
        websocket, client = rest.connect(patience=Patience(ping=10, pong=5))

        async def answer_once() -> None:
            assert await client.frame() == (PING, b"")
            await client.send(frame(PONG, b""))

        rest.nursery.start_soon(answer_once)
        assert await websocket.receive(Desk()) is None
        assert trio.current_time() == pytest.approx(10 + 10 + 5)


async def test_a_message_that_does_not_end_is_given_up_after_its_time(autojump_clock: MockClock) -> None:
    async with resting() as rest:
        websocket, client = rest.connect(patience=Patience(ping=100, message=30, close=1))
        data = frame(BINARY, b"x" * 90)

        async def drip() -> None:
            with suppress(trio.BrokenResourceError):
                for index in range(len(data)):
                    await trio.sleep(5)
                    await client.send(data[index : index + 1])

        rest.nursery.start_soon(drip)
        with pytest.raises(ProtocolViolation, match="longer than 30 s"):
            await websocket.receive(Desk())
        assert trio.current_time() == pytest.approx(5 + 30, abs=2)


@settings(max_examples=30, deadline=None)
@given(
    contents=some.lists(some.binary(max_size=200), min_size=1, max_size=8),
    cuts=some.lists(some.integers(0, 2000), max_size=12),
    split=some.booleans(),
)
def test_every_message_is_dealt_with_or_returned_in_order_however_the_bytes_come(
    contents: list[bytes], cuts: list[int], split: bool
) -> None:
    halves = [len(content) // 2 if split else 0 for content in contents]
    data = b"".join(
        (frame(BINARY, content[:half], final=False) if half else b"")
        + frame(CONTINUATION if half else BINARY, content[half:])
        for content, half in zip(contents, halves, strict=True)
    )
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    seen: list[bytes] = []

    def deal(message: Received, now: float) -> bool:
        if len(message) <= 100:
            seen.append(bytes(message))
        return len(message) <= 100

    async def main() -> None:
        async with resting() as rest:
            websocket, client = rest.connect()

            async def send() -> None:
                for start, end in pairwise(edges):
                    await client.send(data[start:end])
                    await trio.lowlevel.checkpoint()
                await client.stream.send_eof()

            rest.nursery.start_soon(send)
            with trio.fail_after(10):
                while (message := await websocket.receive(deal)) is not None:
                    seen.append(bytes(message))

    trio.run(main)
    assert seen == contents


async def test_a_message_is_shown_once_to_whoever_may_deal_with_it() -> None:
    async with resting() as rest:
        websocket, client = rest.connect()
        shown: list[bytes] = []

        def decline(data: Received, now: float) -> bool:
            shown.append(bytes(data))
            return False

        rest.nursery.start_soon(client.send, frame(BINARY, b"one"))
        assert await websocket.receive(decline) == b"one"
        assert shown == [b"one"]


async def test_other_tasks_have_their_turns_while_sockets_are_never_empty() -> None:
    async with resting() as rest:
        client, server = socket_pair()
        rest.ends += [client, server]
        await client.send_all(b"never read")
        rest.nursery.start_soon(rest.poll.wait, server.socket.fileno(), lambda: True)
        with trio.fail_after(5):
            for _ in range(100):
                await trio.lowlevel.checkpoint()
        rest.nursery.cancel_scope.cancel()


async def test_whoever_waits_for_a_socket_is_told_that_it_is_closed() -> None:
    async with resting() as rest:
        client, server = socket_pair()
        rest.ends += [client, server]
        told = trio.Event()

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await rest.poll.wait(server.socket.fileno(), lambda: True)
            told.set()

        rest.nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        rest.poll.leave(server.socket.fileno())
        with trio.fail_after(5):
            await told.wait()


async def test_calls_that_are_made_together_are_one_turn() -> None:
    async with resting() as rest:
        done: list[str] = []
        ends = [rest.connect(), rest.connect()]
        for _, client in ends:
            await client.send(frame(BINARY, b"?"))

        def deal(data: Received, now: float) -> bool:
            done.append("call")
            return rest.turn.defer(lambda: done.append("answer"))

        for websocket, _ in ends:  # both begin to wait before the poll has its turn
            rest.nursery.start_soon(websocket.receive, deal)
        with trio.fail_after(5):
            while len(done) < 4:
                await trio.lowlevel.checkpoint()
        assert done == ["call", "call", "answer", "answer"]
