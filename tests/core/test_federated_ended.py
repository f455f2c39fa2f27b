"""A federated training that has ended: the model stays, and nothing counts any more."""

from __future__ import annotations

import math

import pytest

from disco.core.effects import Aggregate, Record, Reset
from disco.core.events import Aggregated, Contributed, Ended, FederatedEvent, Joined, Left, Restored, Ticked
from disco.core.messages import GlobalModel, Outcome, TrainingEnded, Verdict, Welcome
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from tests.core.test_federated import SHAPES, A, B, C, Room, models

WHY = "the budget is spent"


class EndingRoom(Room):
    """A room whose training ends with the round `last`."""

    last = 1

    def aggregate(self, effect: Aggregate) -> FederatedEvent:
        made = super().aggregate(effect)
        assert isinstance(made, Aggregated)
        return Aggregated(made.round, made.weights, WHY if made.round >= self.last else "")


@pytest.fixture
def ended() -> EndingRoom:
    room = EndingRoom()
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    return room


def test_the_last_round_is_told_to_all_before_its_model_is_pushed() -> None:
    room = EndingRoom(interval=1.0)
    room.join(A, B, C)
    room.contribute(A)
    room.contribute(B)
    room.now = 1.0
    sent = room.tell(Ticked())
    told = TrainingEnded(1, WHY)
    assert [(to, said) for to, said in sent if isinstance(said, TrainingEnded)] == [
        (A, told),
        (B, told),
        (C, told),
    ]
    assert isinstance(sent[0][1], TrainingEnded)
    assert models(sent) == [(A, 1, True), (B, 1, True)]
    assert room.session.ended == WHY


def test_a_contribution_is_discarded_with_the_reason_and_the_last_model(ended: EndingRoom) -> None:
    sent = ended.contribute(A, key="k")
    verdict = Verdict(1, Outcome.DISCARDED, f"the training has ended: {WHY}", "k")
    assert [said for _, said in sent[:2]] == [verdict, TrainingEnded(1, WHY)]
    assert models(sent) == [(A, 1, False)]
    assert ended.records == [Outcome.DISCARDED]


def test_no_round_is_due_and_none_closes(ended: EndingRoom) -> None:
    for name in (A, B):
        ended.contribute(name)
    ended.wait(1000.0)
    assert ended.session.deadline == math.inf
    assert ended.closed == [2]


def test_a_contribution_that_counted_before_is_recognised(ended: EndingRoom) -> None:
    room = EndingRoom()
    room.join(A, B)
    room.contribute(A, key="k")
    room.contribute(B)
    sent = room.contribute(A, round_=0, key="k")
    assert [said.outcome for _, said in sent if isinstance(said, Verdict)] == [Outcome.ACCEPTED]


def test_a_newcomer_gets_the_last_model_and_the_reason(ended: EndingRoom) -> None:
    (welcome,) = [said for to, said in ended.tell(Joined(C)) if to == C]
    assert isinstance(welcome, Welcome)
    assert (welcome.round, welcome.ended) == (1, WHY)


def test_the_model_stays_when_the_last_participant_leaves_though_the_task_resets_when_empty() -> None:
    room = EndingRoom(reset=True)
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    room.tell(Left(A))
    room.tell(Left(B))
    assert not any(isinstance(effect, Reset) for effect in room.effects)
    assert room.session.round == 1


def test_ending_between_rounds_discards_what_was_contributed_to_the_open_one() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A, key="k")
    sent = room.tell(Ended(WHY))
    assert room.records == [Outcome.DISCARDED]
    assert sent[0] == (A, Verdict(0, Outcome.DISCARDED, f"the training has ended: {WHY}", "k"))
    assert [to for to, said in sent if isinstance(said, TrainingEnded)] == [A, B]
    assert models(sent) == [(A, 0, True)]
    assert room.session.contributors == ()


def test_who_contributed_to_the_open_round_and_left_is_recorded_but_not_written_to() -> None:
    room = Room(minimum=2)
    room.join(A, B, C)
    room.contribute(A)
    room.tell(Left(A))
    sent = room.tell(Ended(WHY))
    assert [effect.participant for effect in room.effects if isinstance(effect, Record)] == [A]
    assert A not in [to for to, _ in sent]


def test_bringing_an_earlier_model_back_opens_the_training_again(ended: EndingRoom) -> None:
    ended.last = 10
    sent = ended.tell(Restored(2, Weights.zeros(SHAPES)))
    assert [said for _, said in sent] == [TrainingEnded(2, "")] * 2
    assert ended.session.ended == ""
    ended.contribute(A)
    assert models(ended.contribute(B)) == [(A, 3, True), (B, 3, True)]


def test_bringing_an_earlier_model_back_opens_nothing_where_the_budget_stays_spent(ended: EndingRoom) -> None:
    ended.tell(Restored(2, Weights.zeros(SHAPES), WHY))
    assert ended.session.ended == WHY
    assert not any(isinstance(said, GlobalModel) and said.pushed for _, said in ended.contribute(A))


def test_a_stranger_is_told_to_say_hello_first(ended: EndingRoom) -> None:
    stranger = ParticipantID("nobody")
    sent = ended.tell(Contributed(stranger, 1, Weights.zeros(SHAPES)))
    assert "connected" in next(said.reason for _, said in sent if isinstance(said, Verdict))
