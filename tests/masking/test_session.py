"""A masked session: when rounds begin and end, and who is told what."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from disco.core.effects import Reset
from disco.core.events import Ended, Left, Misdelivered, Restored
from disco.core.masking.words import (
    KeysAdvertised,
    MaskedContributed,
    MaskedMessage,
    RoundAbandoned,
    SharesRevealed,
    SharesSent,
)
from disco.core.messages import (
    Enough,
    GlobalModel,
    Outcome,
    ParticipantsChanged,
    TrainingEnded,
    Verdict,
    Welcome,
)
from disco.core.names import ParticipantID
from tests.masking.room import INTERVAL, RETRY, Room, gathered, names

WHO = names(4)
#: As members know each other.
FIRST, SECOND = ParticipantID("1"), ParticipantID("2")


def closed(count: int = 4) -> tuple[Room, list[ParticipantID]]:
    """A room in which round 0 has closed, and everybody has read what it was told."""
    room, who = gathered(count)
    for _ in range(3):
        room.step(who)
    for name in who:
        room.inboxes[name].clear()
    return room, who


def told(room: Room, name: ParticipantID, kind: type) -> list[object]:
    return [message for message in room.inboxes[name] if isinstance(message, kind)]


# ── Joining, and beginning ───────────────────────────────────────────────────────────────────────────────


def test_who_joins_is_given_the_round_and_the_model_and_the_others_hear_of_it() -> None:
    room = Room()
    room.join(*WHO[:3])
    assert room.inboxes[WHO[0]][0] == Welcome(WHO[0], 0, room.initial, waiting=True, participants=1)
    assert list(room.inboxes[WHO[0]])[1:] == [ParticipantsChanged(2), Enough(3)]
    assert room.inboxes[WHO[2]][0] == Welcome(WHO[2], 0, room.initial, waiting=False, participants=3)


def test_a_round_begins_when_everybody_present_has_keys_and_they_are_enough() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(*WHO[:3])
    assert not any(room.asked(name) for name in WHO)
    room.advertise(WHO[3])
    assert all(room.asked(name) for name in WHO)


def test_a_round_begins_with_enough_after_the_interval() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(*WHO[:3])
    room.wait(INTERVAL - 1)
    assert room.asked(WHO[0]) is None
    room.wait(1)
    assert room.asked(WHO[0]) is not None


def test_too_few_are_waited_for_without_an_end() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(*WHO[:2])
    assert room.session.deadline == float("inf")


def test_who_leaves_with_its_keys_is_in_no_round() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(*WHO[:3])
    room.leave(WHO[0])
    assert room.session.deadline == float("inf")
    room.advertise(WHO[3])
    for _ in range(3):
        room.step(WHO[1:])
    assert room.contributed == {1: tuple(WHO[1:])}


def test_the_last_one_without_keys_to_leave_lets_the_others_begin() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(*WHO[:3])
    room.leave(WHO[3])
    assert all(room.asked(name) for name in WHO[:3])


def test_a_key_that_another_member_has_is_rejected() -> None:
    room = Room()
    room.join(*WHO)
    room.advertise(WHO[0])
    room.handle(KeysAdvertised(WHO[1], 0, room.members[WHO[0]].keys))
    assert room.records[-1].outcome is Outcome.REJECTED
    assert "from those of every other member" in room.records[-1].reason


# ── What does not count ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("number", "why"), [(0, "round 0 is over"), (2, "round 2 has not begun")])
def test_keys_for_another_round_are_answered_with_the_current_model(number: int, why: str) -> None:
    room, who = closed()
    room.handle(KeysAdvertised(who[0], number, gathered(3)[0].members[names(1)[0]].keys))
    [verdict, model] = room.inboxes[who[0]]
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.DISCARDED
    assert verdict.reason == f"{why}, the current round is 1"
    assert model == GlobalModel(1, room.session.weights, 4, pushed=False)


def test_keys_of_somebody_who_has_not_joined_do_not_count() -> None:
    room, who = gathered(3)
    room.handle(KeysAdvertised(ParticipantID("stranger"), 0, room.members[who[0]].keys))
    assert room.records[-1].reason == "its sender has not said that it is connected"


@pytest.mark.parametrize(
    ("event", "outcome", "why"),
    [
        (SharesSent(WHO[0], 9, {}), Outcome.DISCARDED, "attempt 9 is not under way"),
        (SharesSent(WHO[0], 1, {}), Outcome.REJECTED, "shares must be for each of the 3 other members"),
        (SharesSent(WHO[0], 1, dict.fromkeys(WHO, b"")), Outcome.REJECTED, "each of the 3 other members"),
        (SharesSent(ParticipantID("stranger"), 1, {}), Outcome.DISCARDED, "attempt 1 is sharing"),
        (MaskedContributed(WHO[0], 1, np.zeros(11, np.uint32)), Outcome.DISCARDED, "attempt 1 is sharing"),
        (SharesRevealed(WHO[0], 1, {}, {}), Outcome.DISCARDED, "attempt 1 is sharing"),
        (Misdelivered(WHO[0], "masked is missing"), Outcome.REJECTED, "masked is missing"),
    ],
)
def test_what_does_not_fit_costs_its_sender_a_verdict(
    event: SharesSent | MaskedContributed | SharesRevealed | Misdelivered, outcome: Outcome, why: str
) -> None:
    room, _ = gathered(4)
    room.handle(event)
    assert room.records[-1].outcome is outcome
    assert why in room.records[-1].reason
    assert room.session.contributors == ()


def test_a_contribution_of_another_size_is_rejected_with_both_sizes() -> None:
    room, who = gathered(4)
    room.step(who)
    room.handle(MaskedContributed(who[0], 1, np.zeros(12, dtype=np.uint32)))
    assert room.records[-1].reason == "masked has 12 integers where the model has 11 parameters"


def test_the_second_contribution_of_a_member_does_not_count() -> None:
    room, who = gathered(4)
    room.step(who)
    room.step(who[:1])
    room.handle(MaskedContributed(who[0], 1, np.ones(11, dtype=np.uint32)))
    assert room.records[-1].outcome is Outcome.DISCARDED
    room.step(who[1:])
    room.step(who)
    assert room.contributed == {1: tuple(who)}


def test_shares_of_members_who_were_not_asked_for_are_rejected() -> None:
    room, who = gathered(4)
    room.step(who)
    room.step(who)
    room.handle(SharesRevealed(who[0], 1, {who[1]: bytes(66)}, {who[1]: bytes(66)}))
    assert room.records[-1].outcome is Outcome.REJECTED
    assert "maskKeys of members who dropped out" in room.records[-1].reason


def test_shares_beyond_those_that_were_enough_are_no_fault() -> None:
    room, who = gathered(4)
    for _ in range(3):
        room.step(who)
    assert {record.outcome for record in room.records} == {Outcome.ACCEPTED}


def test_members_do_not_learn_each_other_s_ids() -> None:
    room, who = gathered(4)
    told = ""
    for _ in range(3):
        told += repr([said for name in who for said in room.inboxes[name] if isinstance(said, MaskedMessage)])
        room.step(who)
    assert "Survivors" in told
    assert not any(name in told for name in who)


# ── Liars ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_share_begins_the_round_again_and_gives_no_wrong_model() -> None:
    room, who = gathered(4)
    room.step(who)
    room.step(who)
    answer = room.answer(who[0])
    assert isinstance(answer, SharesRevealed)
    room.handle(replace(answer, seeds={**answer.seeds, SECOND: bytes(65) + b"\x05"}))
    room.step(who[1:])

    assert "the shares of member 2's" in room.abandoned[0]
    assert room.session.round == 0
    assert told(room, who[0], RoundAbandoned)


def test_a_share_that_is_missing_is_made_up_for_by_others() -> None:
    room, who = gathered(4)
    room.step(who)
    room.step(who)
    answer = room.answer(who[0])
    assert isinstance(answer, SharesRevealed)
    room.handle(replace(answer, seeds={FIRST: answer.seeds[FIRST]}))
    room.step(who[1:])
    assert room.contributed == {1: tuple(who)}


def test_a_round_begins_again_without_a_member_whose_shares_nobody_can_open() -> None:
    room, who = gathered(4)
    answer = room.answer(who[0])
    assert isinstance(answer, SharesSent)
    room.handle(replace(answer, shares=dict.fromkeys(answer.shares, bytes(148))))
    room.step(who[1:])
    for _ in range(2):
        room.step(who)
    assert room.abandoned == ["the others could not open the shares of member 1"]

    room.advertise(*who)
    assert room.verdicts(who[0])[-1].outcome is Outcome.REJECTED
    assert "another group secret" in room.verdicts(who[0])[-1].reason
    room.wait(INTERVAL)
    for _ in range(3):
        room.step(who[1:])
    assert room.contributed == {1: tuple(who[1:])}


def test_who_was_left_out_of_a_round_is_in_the_next() -> None:
    room, who = gathered(4)
    answer = room.answer(who[0])
    assert isinstance(answer, SharesSent)
    room.handle(replace(answer, shares=dict.fromkeys(answer.shares, bytes(148))))
    room.step(who[1:])
    for _ in range(2):
        room.step(who)
    for name in who:
        room.inboxes[name].clear()
    room.advertise(*who)
    room.wait(INTERVAL)
    for _ in range(3):
        room.step(who[1:])
    room.advertise(*who)
    for _ in range(3):
        room.step(who)
    assert set(room.contributed[2]) == set(who)


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_figures_are_of_this_round_alone() -> None:
    room, who = closed()
    room.now = 1000.0
    room.join(ParticipantID("spectator"))
    room.advertise(*who)
    room.now = 1600.0
    room.wait(0)
    for _ in range(3):
        room.step(who)
    assert (room.closed[1].number, room.closed[1].participants, room.closed[1].contributions) == (2, 5, 4)
    assert room.closed[1].seconds == 600


def test_only_who_has_a_contribution_is_pushed_the_model() -> None:
    room, who = closed()
    room.advertise(*who[:3])
    room.wait(INTERVAL)
    for _ in range(3):
        room.step(who[:3])
    assert [bool(told(room, name, GlobalModel)) for name in who] == [True, True, True, False]


def test_a_sum_that_cannot_be_stored_is_kept_and_stored_later_without_asking_anybody_again() -> None:
    room, who = gathered(4)
    room.disk_full = True
    for _ in range(3):
        room.step(who)
    room.wait(3 * RETRY)
    assert room.session.round == 0
    verdicts = [said for name in who for said in room.verdicts(name)]
    assert [said.reason for said in verdicts] == [
        "it counts, but the round cannot be closed now and is tried again: the disk is full"
    ] * 4

    room.disk_full = False
    room.wait(RETRY)
    assert room.contributed == {1: tuple(who)}
    assert len(room.plans) == 1


def test_an_operator_s_model_takes_the_place_of_the_round_under_way() -> None:
    room, who = gathered(4)
    room.step(who)
    room.handle(Restored(5, room.initial))
    assert room.verdicts(who[0])[0].reason == "an operator made another model the current one"
    assert room.model_told(who[0]) == GlobalModel(5, room.initial, 4, pushed=True)
    room.step(who)
    assert room.session.contributors == ()


def test_a_training_that_has_ended_takes_nothing_and_says_so() -> None:
    room, who = closed()
    room.handle(Ended("its budget is spent"))
    assert told(room, who[0], TrainingEnded) == [TrainingEnded(1, "its budget is spent")]
    room.advertise(who[0])
    assert room.verdicts(who[0])[0].reason == "the training has ended: its budget is spent"
    assert told(room, who[0], TrainingEnded)[1:] == [TrainingEnded(1, "its budget is spent")]
    assert room.model_told(who[0]) is not None
    assert room.session.deadline == float("inf")
    room.join(ParticipantID("late"))
    [welcome] = told(room, ParticipantID("late"), Welcome)
    assert isinstance(welcome, Welcome)
    assert welcome.ended == "its budget is spent"


def test_the_training_starts_anew_when_the_last_one_leaves_if_the_task_says_so() -> None:
    room, who = gathered(3, reset_when_empty=True)
    for _ in range(3):
        room.step(who)
    room.leave(*who[:2])
    assert Reset() in room.handle(Left(who[2]))
    assert (room.session.round, room.session.weights) == (0, room.initial)


def test_a_round_whose_members_all_leave_is_over() -> None:
    room, who = gathered(3)
    room.step(who)
    room.leave(*who)
    assert room.session.deadline == float("inf")
    assert room.total is None
