"""What waits for one connection."""

from __future__ import annotations

import trio
import trio.testing

from disco.runtime.outbox import Farewell, Outbox


async def drained(outbox: Outbox) -> list[bytes | Farewell]:
    taken: list[bytes | Farewell] = []
    while outbox.depth:
        taken.append(await outbox.next())
    return taken


async def test_messages_leave_in_order() -> None:
    outbox = Outbox(10)
    for data in (b"1", b"2", b"3"):
        outbox.put(data)
    assert await drained(outbox) == [b"1", b"2", b"3"]


async def test_a_newer_model_replaces_the_one_that_waits_and_nothing_else() -> None:
    outbox = Outbox(10)
    outbox.put(b"news")
    outbox.put(b"old model", replaceable=True)
    outbox.put(b"more news")
    outbox.put(b"new model", replaceable=True)
    assert await drained(outbox) == [b"news", b"more news", b"new model"]


async def test_whoever_lets_too_much_pile_up_is_let_go_with_the_limit_named() -> None:
    outbox = Outbox(2)
    for _ in range(3):
        outbox.put(b"x")
    farewell = await outbox.next()
    assert isinstance(farewell, Farewell)
    assert farewell.code == 1008
    assert "limits.outbox_messages, 2" in farewell.reason


async def test_what_waits_is_sent_before_the_farewell_and_the_first_reason_stays() -> None:
    outbox = Outbox(10)
    outbox.put(b"last words")
    outbox.close(1001, "stopping")
    outbox.close(1000, "")
    outbox.put(b"too late")
    assert await outbox.next() == b"last words"
    assert await outbox.next() == Farewell(1001, "stopping")


async def test_next_waits_for_the_first_message() -> None:
    outbox = Outbox(10)
    taken: list[bytes | Farewell] = []

    async def take() -> None:
        taken.append(await outbox.next())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        outbox.put(b"now")
    assert taken == [b"now"]
