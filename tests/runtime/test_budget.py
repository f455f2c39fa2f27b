"""Bytes in flight over all connections."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from disco.runtime.budget import Budget, Reservation
from disco.runtime.lane import STALL_SECONDS, Lane


class Taker:
    """Takes room in a task of its own; tells whether it has been let in."""

    def __init__(self, budget: Budget) -> None:
        self.reservation = Reservation(budget, Lane(100))
        self.let_in = 0

    async def take(self, *sizes: int) -> None:
        for size in sizes:
            await self.reservation.admit(size)
            self.let_in += 1


async def start(nursery: trio.Nursery, budget: Budget, *sizes: int) -> Taker:
    taker = Taker(budget)
    nursery.start_soon(taker.take, *sizes)
    await trio.testing.wait_all_tasks_blocked()
    return taker


async def test_whoever_finds_no_room_waits_until_there_is(nursery: trio.Nursery) -> None:
    budget = Budget(100)
    first, second = await start(nursery, budget, 60), await start(nursery, budget, 60)
    assert (first.let_in, second.let_in, budget.waiting) == (1, 0, 1)
    first.reservation.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (second.let_in, budget.taken_bytes) == (1, 60)


async def test_room_is_given_in_the_order_of_asking(nursery: trio.Nursery) -> None:
    budget = Budget(100)
    first = await start(nursery, budget, 80)
    large, small = await start(nursery, budget, 90), await start(nursery, budget, 10)
    assert (large.let_in, small.let_in) == (0, 0), "a small one that came later does not starve a large one"
    first.reservation.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (large.let_in, small.let_in) == (1, 1)


async def test_a_message_larger_than_the_budget_is_let_in_alone(nursery: trio.Nursery) -> None:
    budget = Budget(100)
    small = await start(nursery, budget, 10)
    huge = await start(nursery, budget, 500)
    assert huge.let_in == 0
    small.reservation.release()
    await trio.testing.wait_all_tasks_blocked()
    assert huge.let_in == 1


async def test_fragments_of_two_messages_do_not_wait_for_each_other(nursery: trio.Nursery) -> None:
    budget = Budget(100)
    one, two = await start(nursery, budget, 50), await start(nursery, budget, 50)
    for taker in (one, two):
        nursery.start_soon(taker.take, 40)
    await trio.testing.wait_all_tasks_blocked()
    assert (one.let_in, two.let_in) in {(2, 1), (1, 2)}, "one is let over the limit, the other waits for it"
    assert budget.peak_bytes == 140
    done = one if one.let_in == 2 else two
    done.reservation.release()
    await trio.testing.wait_all_tasks_blocked()
    assert (one.let_in, two.let_in) == (2, 2)


async def test_a_cancelled_wait_takes_nothing_and_lets_the_next_in(nursery: trio.Nursery) -> None:
    budget = Budget(100)
    await start(nursery, budget, 60)
    impatient = Reservation(budget, Lane(100))
    with trio.move_on_after(0):
        await impatient.admit(60)
    assert (impatient.held_bytes, budget.waiting) == (0, 0)
    assert (await start(nursery, budget, 40)).let_in == 1


async def test_what_is_given_back_is_free_again() -> None:
    budget = Budget(100)
    reservation = Reservation(budget, Lane(100))
    for _ in range(10):
        await reservation.admit(100)
        reservation.release()
    reservation.release()
    assert budget.taken_bytes == 0


@pytest.mark.parametrize("clients", [8])
async def test_many_takers_never_exceed_the_budget(clients: int, nursery: trio.Nursery) -> None:
    budget = Budget(100)

    async def work() -> None:
        reservation = Reservation(budget, Lane(100))
        for _ in range(20):
            await reservation.admit(40)
            await trio.lowlevel.checkpoint()
            reservation.release()

    async with trio.open_nursery() as workers:
        for _ in range(clients):
            workers.start_soon(work)
    assert budget.peak_bytes == 80
    assert budget.taken_bytes == 0


async def test_a_lane_lets_in_a_few_and_the_next_when_one_has_been_handled(nursery: trio.Nursery) -> None:
    budget, lane = Budget(1000), Lane(2)
    inside = [Reservation(budget, lane) for _ in range(3)]
    for reservation in inside:  # one by one: Trio starts tasks in any order
        nursery.start_soon(reservation.admit, 10)
        await trio.testing.wait_all_tasks_blocked()
    assert [reservation.held_bytes for reservation in inside] == [10, 10, 0]
    inside[0].release()
    await trio.testing.wait_all_tasks_blocked()
    assert [reservation.held_bytes for reservation in inside] == [0, 10, 10]


async def test_a_slow_sender_leaves_the_lane_and_keeps_its_bytes(nursery: trio.Nursery) -> None:
    budget, lane = Budget(1000), Lane(1)
    slow, fast = Reservation(budget, lane), Reservation(budget, lane)
    await slow.admit(10)
    assert slow.stall_seconds == STALL_SECONDS
    nursery.start_soon(fast.admit, 10)
    await trio.testing.wait_all_tasks_blocked()
    slow.stalled()
    await trio.testing.wait_all_tasks_blocked()
    assert (slow.held_bytes, fast.held_bytes) == (10, 10)
    slow.release()
    assert budget.taken_bytes == 10
