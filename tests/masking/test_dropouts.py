"""The sum is right whoever drops out, in whatever phase, as long as enough are left; and nobody is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from disco.core.effects import Record
from disco.core.messages import Outcome
from disco.core.names import ParticipantID
from tests.masking.room import PHASES, Room, gathered

COUNTS = [3, 6, 9, 13]
LEAVING = pytest.mark.parametrize("leaving", [True, False], ids=["leaves", "falls silent"])


def drop(room: Room, who: list[ParticipantID], leaving: bool) -> None:
    """Some leave, or only say nothing any more until the phase's time is over."""
    if leaving:
        room.leave(*who)
    else:
        room.wait(room.terms.phase_seconds)


@LEAVING
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("phase", range(3), ids=[str(phase) for phase in PHASES])
def test_the_sum_is_that_of_those_who_delivered_when_a_third_drops_out(
    phase: int, count: int, leaving: bool
) -> None:
    room, who = gathered(count)
    base = room.session.weights
    dropped = who[1::3][: count // 3]
    left = [name for name in who if name not in dropped]
    for step in range(3):
        room.step(left if step >= phase else who)
        if step == phase:
            drop(room, dropped, leaving)

    delivered = who if phase == 2 else left
    assert room.contributed[1] == tuple(delivered)
    np.testing.assert_allclose(
        room.session.weights.flat, room.mean(base, delivered), rtol=0, atol=room.tolerance(count)
    )


@LEAVING
def test_a_third_may_drop_out_a_few_at_every_phase(leaving: bool) -> None:
    room, who = gathered(9)
    base = room.session.weights
    for step in range(3):
        room.step(who[step + 1 :])
        drop(room, [who[step]], leaving)

    assert room.contributed[1] == tuple(who[2:])
    np.testing.assert_allclose(room.session.weights.flat, room.mean(base, who[2:]), atol=room.tolerance(9))


def test_who_drops_out_before_it_has_keys_is_waited_for_until_the_interval() -> None:
    room, who = Room(), gathered(9)[1]
    room.join(*who)
    room.advertise(*who[3:])
    assert room.session.contributors == ()
    room.wait(600)
    for _ in range(3):
        room.step(who[3:])

    assert room.contributed[1] == tuple(who[3:])


@pytest.mark.parametrize("phase", range(3), ids=[str(phase) for phase in PHASES])
def test_with_more_than_a_third_gone_the_round_is_tried_again_with_who_is_present(phase: int) -> None:
    room, who = gathered(9)
    base, gone, left = room.session.weights, who[:4], who[4:]
    for _ in range(phase):
        room.step(who)
    room.step(left)
    room.leave(*gone)

    [reason] = room.abandoned
    assert "of 9 members" in reason
    assert "it takes 6" in reason
    room.advertise(*left)
    for _ in range(3):
        room.step(left)
    assert room.contributed == {1: tuple(left)}
    np.testing.assert_allclose(room.session.weights.flat, room.mean(base, left), atol=room.tolerance(5))


def test_nobody_masks_for_who_has_shared_and_left() -> None:
    room, who = gathered(6)
    room.step(who[:1])
    room.leave(who[0])
    for _ in range(3):
        room.step(who[1:])

    assert room.contributed[1] == tuple(who[1:])
    assert not room.plans[0].mask_keys


def test_everybody_who_waits_hears_that_a_round_begins_again_and_why() -> None:
    room, who = gathered(3)
    room.step(who[:1])
    room.wait(room.terms.phase_seconds)

    told = [room.inboxes[name][-1] for name in who]
    assert {type(message).__name__ for message in told} == {"RoundAbandoned"}
    assert "1 of 3 members shared their secrets, and it takes 2" in str(told[0])


def test_who_dropped_out_hears_that_it_did_not_count_and_gets_the_model() -> None:
    room, who = gathered(3)
    room.step(who)
    room.step(who[1:])
    room.wait(room.terms.phase_seconds)
    room.step(who[1:])

    [verdict] = room.verdicts(who[0])
    assert verdict.outcome is Outcome.DISCARDED
    assert "dropped out" in verdict.reason
    model = room.model_told(who[0])
    assert model is not None
    assert model.round == 1


def test_each_who_counted_is_accepted_once() -> None:
    room, who = gathered(4)
    for _ in range(3):
        room.step(who)

    assert room.records == [Record(name, Outcome.ACCEPTED) for name in who]
    assert [[said.outcome for said in room.verdicts(name)] for name in who] == [[Outcome.ACCEPTED]] * 4


def test_who_delivered_and_came_back_is_told_that_it_counts() -> None:
    room, who = gathered(6)
    room.step(who)
    room.step(who[:2])
    room.leave(who[0])
    room.join(who[0])
    room.advertise(who[0])
    room.step(who[2:])
    room.step(who[1:])

    assert room.contributed[1] == tuple(who)
    assert [said.outcome for said in room.verdicts(who[0])] == [Outcome.ACCEPTED]


def test_who_comes_back_without_having_delivered_waits_and_joins_the_next_round() -> None:
    room, who = gathered(6)
    room.step(who)
    room.leave(who[0])
    room.join(who[0])
    room.advertise(who[0])
    assert "under way with other members" in room.verdicts(who[0])[0].reason
    room.step(who[1:])
    room.step(who[1:])
    assert room.contributed[1] == tuple(who[1:])
    model = room.model_told(who[0])
    assert model is not None
    assert model.round == 1

    room.advertise(*who)
    for _ in range(3):
        room.step(who)
    assert set(room.contributed[2]) == set(who)


def test_a_member_that_joins_again_on_another_connection_is_not_waited_for() -> None:
    room, who = gathered(6)
    room.step(who[1:])
    assert room.session.contributors == ()
    room.join(who[0])  # its old connection is not known to be gone
    room.step(who[1:])
    room.step(who[1:])

    assert room.contributed[1] == tuple(who[1:])
