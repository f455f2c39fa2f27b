from __future__ import annotations

from contextlib import suppress
from math import inf

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from disco.errors import LimitExceeded, MalformedFrame, ProtocolViolation, TextMessage
from disco.runtime.fast_websocket import DIRECT_BYTES, FastWebSocket
from disco.runtime.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, parse_close
from disco.runtime.patience import Patience
from disco.runtime.transport import Sent
from tests.runtime.client_frames import KEY, frame, header, masked
from tests.runtime.websocket_pairs import LIMIT, Client, in_lockstep, in_memory, on_sockets

LARGE = bytes(range(256)) * 1200  # well over DIRECT_BYTES


async def closing(client: Client) -> tuple[int, str]:
    """Return the code and reason of the close frame that comes next."""
    found = await client.frame()
    assert found is not None
    opcode, payload = found
    assert opcode == CLOSE
    close = parse_close(payload)
    return close.code, close.reason


async def leave(websocket: FastWebSocket, client: Client) -> None:
    """Let the client go, and the server notice."""
    await client.stream.aclose()
    with trio.fail_after(5):
        assert await websocket.receive() is None


async def test_messages_arrive_whole_and_in_order() -> None:
    websocket, client = in_memory()
    for content in (b"", b"small", LARGE, b"after"):
        await client.send(frame(BINARY, content))
    found = [await websocket.receive() for _ in range(4)]
    assert [bytes(each) for each in found if each is not None] == [b"", b"small", LARGE, b"after"]


async def test_what_came_behind_the_upgrade_request_is_received_first() -> None:
    websocket, client = in_memory(rest=frame(BINARY, b"early") + frame(BINARY, b"half")[:4])
    await client.send(frame(BINARY, b"half")[4:])
    assert await websocket.receive() == b"early"
    assert await websocket.receive() == b"half"


async def test_every_message_that_arrived_is_returned_before_the_end() -> None:
    websocket, client = in_memory()
    await client.send(frame(BINARY, b"one") + frame(BINARY, b"two"))
    await client.stream.send_eof()
    assert [await websocket.receive() for _ in range(4)] == [b"one", b"two", None, None]


async def test_the_end_amid_a_message_is_the_end() -> None:
    websocket, client = in_memory()
    await client.send(frame(BINARY, LARGE)[:-1])
    await client.stream.send_eof()
    assert await websocket.receive() is None


async def test_a_sent_message_is_one_unmasked_frame() -> None:
    websocket, client = in_memory()
    await websocket.send(b"hello")
    await websocket.send(memoryview(LARGE))
    await websocket.send("grüß".encode(), text=True)
    assert await client.frame() == (BINARY, b"hello")
    assert await client.frame() == (BINARY, LARGE)
    assert await client.frame() == (TEXT, "grüß".encode())


async def test_a_message_in_pieces_is_one_frame() -> None:
    websocket, client = in_memory()
    await websocket.send((b"one ", memoryview(b"message"), b""))
    assert await client.frame() == (BINARY, b"one message")


async def test_a_message_in_more_pieces_than_the_system_takes_at_once_is_one_frame() -> None:
    websocket, client = on_sockets()
    await websocket.send((b"piece ",) * 3000)
    assert await client.frame() == (BINARY, b"piece " * 3000)
    await leave(websocket, client)


async def test_a_text_is_refused_with_1003() -> None:
    websocket, client = in_memory()
    await client.send(frame(TEXT, b"{}"))
    with pytest.raises(TextMessage):
        await websocket.receive()
    assert (await closing(client))[0] == 1003


async def test_bytes_that_are_not_frames_are_refused_with_1002() -> None:
    websocket, client = in_memory()
    await client.send(b"GET / HTTP/1.1\r\n")
    with pytest.raises(MalformedFrame):
        await websocket.receive()
    assert (await closing(client))[0] == 1002
    assert await client.frame() is None


async def test_a_message_over_the_limit_is_refused_before_its_payload_comes() -> None:
    websocket, client = in_memory()
    await client.send(header(BINARY, LIMIT + 1) + KEY)
    with pytest.raises(LimitExceeded):
        await websocket.receive()
    assert await closing(client) == (1009, f"a message is longer than {LIMIT} bytes")


async def test_nothing_can_be_received_after_an_error() -> None:
    websocket, client = in_memory()
    await client.send(header(BINARY, LIMIT + 1) + KEY + frame(BINARY, b"inside the payload"))
    await client.stream.send_eof()
    with pytest.raises(LimitExceeded):
        await websocket.receive()
    assert await websocket.receive() is None


async def test_a_client_that_goes_on_sending_after_an_error_is_left(autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(close=5))

    async def babble() -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await client.send(b"x" * 1000)
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(babble)
        with pytest.raises(MalformedFrame):
            await websocket.receive()
        await websocket.close(1002, "")
        assert trio.current_time() < 8


async def test_a_ping_is_answered_with_its_payload() -> None:
    websocket, client = in_memory()
    await client.send(frame(PING, b"are you there?") + frame(BINARY, b"x"))
    assert await websocket.receive() == b"x"
    assert await client.frame() == (PONG, b"are you there?")


async def test_a_pong_does_not_cut_a_frame_that_is_being_sent() -> None:
    websocket, client = in_lockstep()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, LARGE)
        nursery.start_soon(websocket.receive)
        await wait_all_tasks_blocked()
        await client.send(frame(PING, b"first"))
        await client.send(frame(PING, b"latest"))
        await wait_all_tasks_blocked()
        assert await client.frame() == (BINARY, LARGE)
        assert await client.frame() == (PONG, b"latest")
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_no_pong_is_let_go(autojump_clock: MockClock) -> None:
    websocket, client = in_lockstep(patience=Patience(control=10))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, frame(PING, b""))
        assert await websocket.receive() is None
    assert trio.current_time() >= 10


async def test_a_close_is_answered_in_kind() -> None:
    websocket, client = in_memory()
    await client.send(frame(CLOSE, (3001).to_bytes(2) + b"done"))
    assert await websocket.receive() is None
    assert (await closing(client))[0] == 3001
    assert await client.frame() is None


async def test_a_close_without_a_code_is_answered_without_one() -> None:
    websocket, client = in_memory()
    await client.send(frame(CLOSE, b""))
    assert await websocket.receive() is None
    assert await client.frame() == (CLOSE, b"")


async def test_sending_is_silent_once_the_other_side_is_gone() -> None:
    websocket, client = in_memory()
    await client.stream.aclose()
    assert await websocket.receive() is None
    await websocket.send(b"to nobody")
    await websocket.close(1000, "")


async def test_what_had_arrived_is_received_after_sending_has_failed() -> None:
    websocket, client = in_lockstep()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, frame(BINARY, b"last words"))
        assert await websocket.receive() == b"last words"
        nursery.start_soon(websocket.send, LARGE)
        await wait_all_tasks_blocked()
        await client.stream.aclose()
    await websocket.send(b"to nobody")
    assert await websocket.receive() is None


async def test_closing_says_why_and_waits_for_the_answer() -> None:
    websocket, client = in_memory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.close, 1001, "going away")
        assert await closing(client) == (1001, "going away")
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await client.send(frame(BINARY, b"crossed") + frame(CLOSE, (1001).to_bytes(2)))
    assert await client.frame() is None
    assert await websocket.receive() is None


async def test_closing_does_not_wait_for_ever(autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(close=5))
    await websocket.close(1000, "")
    assert trio.current_time() == pytest.approx(5)
    assert await closing(client) == (1000, "")


async def test_closing_ends_the_receive_of_another_task() -> None:
    websocket, client = in_memory()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            assert await websocket.receive() is None

        nursery.start_soon(read)
        nursery.start_soon(websocket.close, 1000, "")
        await closing(client)
        await client.send(frame(CLOSE, (1000).to_bytes(2)))


async def test_who_begins_to_receive_while_another_task_closes_gets_the_end() -> None:
    websocket, client = in_memory()
    received: list[object] = []

    async def receive_late() -> None:
        await wait_all_tasks_blocked()
        received.append(await websocket.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.close, 1001, "stopping")
        nursery.start_soon(receive_late)
        assert await client.frame() == (CLOSE, b"\x03\xe9stopping")
        await client.send(frame(BINARY, b"too late"))
        await client.send(frame(CLOSE, b"\x03\xe9"))
    assert received == [None]


async def test_a_message_sent_at_once_is_one_frame() -> None:
    websocket, client = on_sockets()
    assert websocket.send_now(b"now") is Sent.ALL
    assert await client.frame() == (BINARY, b"now")
    await leave(websocket, client)


async def test_messages_sent_at_once_are_one_frame_each() -> None:
    websocket, client = on_sockets()
    assert websocket.send_now(b"one", b"two") is Sent.ALL
    assert [await client.frame(), await client.frame()] == [(BINARY, b"one"), (BINARY, b"two")]
    await leave(websocket, client)


async def test_of_messages_begun_at_once_all_come_before_everything_else() -> None:
    websocket, client = on_sockets()
    large = bytes(20_000_000)
    assert websocket.send_now(large, b"second") is Sent.PART
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.flush)
        assert [await client.frame(), await client.frame()] == [(BINARY, large), (BINARY, b"second")]
    await leave(websocket, client)


async def test_of_a_message_begun_at_once_the_rest_comes_before_everything_else() -> None:
    websocket, client = on_sockets()
    large = bytes(20_000_000)
    assert websocket.send_now(large) is Sent.PART
    assert websocket.send_now(b"later") is Sent.NOTHING
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, b"later")
        await wait_all_tasks_blocked()
        nursery.start_soon(websocket.flush)
        assert await client.frame() == (BINARY, large)
        assert await client.frame() == (BINARY, b"later")
    assert websocket.send_now(b"at last") is Sent.ALL
    await leave(websocket, client)


async def test_nothing_overtakes_who_waits_for_its_turn() -> None:
    websocket, client = in_lockstep()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, b"first")
        await wait_all_tasks_blocked()
        nursery.start_soon(websocket.send, b"second")
        await wait_all_tasks_blocked()
        assert await client.frame() == (BINARY, b"first")
        assert websocket.send_now(b"third") is Sent.NOTHING
        assert await client.frame() == (BINARY, b"second")


async def test_sending_at_once_is_silent_once_the_other_side_is_gone() -> None:
    websocket, client = on_sockets()
    await leave(websocket, client)
    assert websocket.send_now(b"nobody hears") is Sent.ALL


async def test_only_the_first_close_is_sent(autojump_clock: MockClock) -> None:
    websocket, client = in_memory()
    await websocket.close(1001, "first")
    await websocket.close(1000, "second")
    assert await closing(client) == (1001, "first")
    assert await client.frame() is None


async def test_nothing_is_sent_after_the_close_frame(autojump_clock: MockClock) -> None:
    websocket, client = in_memory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.close, 1000, "")
        await closing(client)
        await websocket.send(b"late")
        await client.send(frame(PING, b"late") + frame(CLOSE, (1000).to_bytes(2)))
    assert await client.frame() is None


async def test_closing_a_client_that_takes_nothing_aborts(autojump_clock: MockClock) -> None:
    websocket, _ = in_lockstep(patience=Patience(close=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, LARGE)
        await wait_all_tasks_blocked()
        await websocket.close(1000, "")
    assert await websocket.receive() is None


async def test_a_cancelled_send_aborts_the_connection(autojump_clock: MockClock) -> None:
    websocket, client = on_sockets()
    with trio.move_on_after(1) as patience:
        await websocket.send(bytes(100_000_000))
    assert patience.cancelled_caught
    assert await websocket.receive() is None
    await websocket.send(b"silent")
    async with client.stream:
        assert await client.frame() is None


async def test_a_cancelled_receive_loses_nothing() -> None:
    websocket, client = in_memory()
    data = frame(BINARY, b"small") + frame(BINARY, LARGE)
    found: list[bytes] = []
    for start in range(0, len(data), 50_000):
        await client.send(data[start : start + 50_000])
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    while (message := await websocket.receive()) is not None:
                        found.append(bytes(message))

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                scope.cancel()
    assert found == [b"small", LARGE]


async def test_a_silent_client_is_asked_for_a_sign_of_life(autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(ping=30, pong=100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.receive)
        assert await client.frame() == (PING, b"")
        assert trio.current_time() == pytest.approx(30)
        nursery.cancel_scope.cancel()


async def test_a_client_that_shows_no_sign_of_life_is_given_up(autojump_clock: MockClock) -> None:
    websocket, _ = in_memory(patience=Patience(ping=30, pong=100))
    assert await websocket.receive() is None
    assert trio.current_time() == pytest.approx(130)


@pytest.mark.parametrize(
    "sign", [frame(PONG, b""), frame(PING, b"me too"), header(BINARY, 1000) + KEY + b"x"]
)
async def test_whatever_a_client_sends_is_a_sign_of_life(sign: bytes, autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(ping=30, pong=100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.receive)
        await trio.sleep(129)
        await client.send(sign)
        await trio.sleep(129)
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()


async def test_a_message_that_takes_too_long_is_refused(autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(message=60))

    async def dribble() -> None:
        for byte in frame(BINARY, LARGE):
            with suppress(trio.BrokenResourceError):
                await client.send(bytes((byte,)))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        with pytest.raises(ProtocolViolation, match="longer than 60 s"):
            await websocket.receive()
        assert (await closing(client))[0] == 1008
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(60, abs=1)


async def test_the_time_between_messages_is_nobodys_business(autojump_clock: MockClock) -> None:
    websocket, client = in_memory(patience=Patience(message=60))
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.receive)
            await trio.sleep(100)
            await client.send(frame(BINARY, b"x", final=False))
            await trio.sleep(50)
            await client.send(frame(CONTINUATION, b"y"))


class Door:
    """A gate that opens when told, and notes what it was asked."""

    def __init__(self, stall_seconds: float = inf, error: Exception | None = None) -> None:
        self.stall_seconds = stall_seconds
        self.error = error
        self.asked: list[int] = []
        self.stalls = 0
        self.open = trio.Event()

    async def admit(self, size: int) -> None:
        self.asked.append(size)
        if self.error is not None:
            raise self.error
        await self.open.wait()

    def stalled(self) -> None:
        self.stalls += 1
        self.stall_seconds = inf


async def test_large_payloads_are_received_once_they_are_admitted() -> None:
    door = Door()
    websocket, client = in_memory(gate=door)
    async with trio.open_nursery() as nursery:
        await client.send(frame(BINARY, b"small"))
        assert await websocket.receive() == b"small"
        assert door.asked == []
        await client.send(header(BINARY, len(LARGE)) + KEY)
        nursery.start_soon(websocket.receive)
        await wait_all_tasks_blocked()
        door.open.set()
        await wait_all_tasks_blocked()
        await client.send(masked(LARGE)[:100_000])
        await wait_all_tasks_blocked()
        await client.send(masked(LARGE)[100_000:])
    assert door.asked == [len(LARGE)]


async def test_a_payload_that_is_not_admitted_is_refused() -> None:
    websocket, client = in_memory(gate=Door(error=LimitExceeded("there is no room")))
    await client.send(header(BINARY, DIRECT_BYTES) + KEY)
    with pytest.raises(LimitExceeded, match="no room"):
        await websocket.receive()
    assert await closing(client) == (1009, "there is no room")


async def test_the_gate_hears_once_of_a_sender_that_pauses_in_a_large_payload(
    autojump_clock: MockClock,
) -> None:
    door = Door(stall_seconds=1.0)
    door.open.set()
    websocket, client = in_memory(gate=door)
    async with trio.open_nursery() as nursery:
        await client.send(header(BINARY, len(LARGE)) + KEY)
        nursery.start_soon(websocket.receive)
        await trio.sleep(0.5)
        assert door.stalls == 0
        await trio.sleep(5)
        await client.send(masked(LARGE)[:100_000])
        await trio.sleep(5)
        await client.send(masked(LARGE)[100_000:])
    assert door.stalls == 1
