"""What people who watch a task are shown."""

from __future__ import annotations

import trio
import trio.testing

from disco.core.effects import Record
from disco.core.messages import Outcome
from disco.core.names import ParticipantID
from disco.runtime.journal import REASON_LENGTH, REFUSALS, ROUNDS, Bell, Journal
from disco.storage.contract import RoundRecord


def refused(reason: str) -> Record:
    return Record(ParticipantID("0123456789"), Outcome.REJECTED, reason)


def closed(number: int) -> RoundRecord:
    return RoundRecord(number, float(number), 2, 2, 1.0)


def test_a_refusal_is_kept_with_its_time_a_short_name_and_its_reason() -> None:
    journal = Journal(clock=lambda: 12.5)
    journal.record(refused("weights has 3 tensors"))
    [kept] = journal.refusals
    assert (kept.at, kept.participant, kept.outcome, kept.reason) == (
        12.5, "01234567", Outcome.REJECTED, "weights has 3 tensors",
    )  # fmt: skip


def test_what_was_accepted_is_no_refusal() -> None:
    journal = Journal()
    journal.record(Record(ParticipantID("a"), Outcome.ACCEPTED))
    assert not journal.refusals


def test_refusals_and_reasons_are_bounded() -> None:
    journal = Journal()
    for number in range(2 * REFUSALS):
        journal.record(refused(f"{number} " + "x" * 5000))
    assert len(journal.refusals) == REFUSALS
    assert max(len(refusal.reason) for refusal in journal.refusals) == REASON_LENGTH
    assert journal.refusals[0].reason.startswith(f"{REFUSALS} ")


def test_rounds_are_bounded_and_the_newest_stay() -> None:
    journal = Journal()
    for number in range(ROUNDS + 5):
        journal.closed(closed(number))
    assert [journal.rounds[0].number, journal.rounds[-1].number] == [5, ROUNDS + 4]


def test_beginning_again_after_a_crash_keeps_rounds_that_the_disk_has_forgotten() -> None:
    journal = Journal()
    for number in (0, 1, 2):
        journal.closed(closed(number))
    journal.begin([closed(0), closed(2), closed(3)])
    assert [record.number for record in journal.rounds] == [0, 1, 2, 3]


def test_a_reset_leaves_round_0() -> None:
    journal = Journal()
    journal.begin([closed(0), closed(1)])
    journal.reset()
    assert [record.number for record in journal.rounds] == [0]


async def test_everybody_who_waits_hears_the_bell() -> None:
    bell, heard = Bell(), []

    async def wait(name: str) -> None:
        heard.append((name, await bell.changed(bell.rung)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.testing.wait_all_tasks_blocked()
        bell.ring()
    assert sorted(heard) == [("a", 1), ("b", 1)]


async def test_a_ring_before_the_wait_is_not_missed() -> None:
    bell = Bell()
    seen = bell.rung
    bell.ring()
    with trio.fail_after(1):
        assert await bell.changed(seen) == 1


async def test_a_closed_bell_keeps_nobody_waiting() -> None:
    bell = Bell()
    bell.close()
    with trio.fail_after(1):
        await bell.changed(bell.rung)


async def test_a_tasks_change_rings_the_bell_of_all() -> None:
    everything = Bell()
    Journal(everything).changed()
    assert everything.rung == 1
