"""A federated session, event by event."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from disco.core.effects import Aggregate, Effect, Fold, Record, Reset, Send
from disco.core.events import (
    Aggregated,
    AggregationFailed,
    Contributed,
    FederatedEvent,
    Folded,
    FoldRefused,
    Joined,
    Left,
    MetadataPosted,
    MetadataRequested,
    Misdelivered,
    ModelRequested,
    StatisticsRequested,
    Ticked,
)
from disco.core.federated import FederatedSession, RoundRules
from disco.core.messages import (
    Enough,
    GlobalModel,
    Message,
    Metadata,
    Outcome,
    ParticipantsChanged,
    Statistics,
    Verdict,
    WaitingForMore,
    Welcome,
)
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights

A, B, C = (ParticipantID(name) for name in "abc")
SHAPES = ((2, 2), (3,))
MODEL = Weights.zeros(SHAPES)
UPDATE = Weights.from_arrays([np.ones(shape) for shape in SHAPES])


class Room:
    """Drives a session as the runtime does: performs folds and aggregations, and keeps what was sent."""

    def __init__(self, minimum: int = 2, interval: float = 30.0, *, reset: bool = False) -> None:
        rules = RoundRules(minimum, interval, retry=5.0, reset_when_empty=reset)
        self.session = FederatedSession(TaskID("t"), rules, MODEL, Noticeboard(4, 100))
        self.now = 0.0
        self.disk_full = False
        self.closed: list[int] = []
        self.effects: list[Effect] = []

    def tell(self, event: FederatedEvent) -> list[tuple[ParticipantID, Message]]:
        """Handle an event and all it leads to; return who was sent what by it."""
        self.effects = []
        events = [event]
        while events:
            for effect in self.session.handle(events.pop(0), self.now):
                self.effects.append(effect)
                if isinstance(effect, Fold):
                    events.append(self.fold(effect))
                elif isinstance(effect, Aggregate):
                    events.append(self.aggregate(effect))
        return [(to, sent.message) for sent in self.effects if isinstance(sent, Send) for to in sent.to]

    def fold(self, effect: Fold) -> FederatedEvent:
        if all(np.isfinite(tensor).all() for tensor in effect.contribution.update.tensors):
            return Folded(effect.contribution)
        return FoldRefused(effect.contribution, "not finite")

    def aggregate(self, effect: Aggregate) -> FederatedEvent:
        if self.disk_full:
            return AggregationFailed("the disk is full")
        self.closed.append(effect.figures.contributions)
        return Aggregated(effect.figures.number, Weights.zeros(SHAPES))

    def join(self, *who: ParticipantID, pushed: bool = True) -> None:
        for participant in who:
            self.tell(Joined(participant, pushed))

    def contribute(
        self, who: ParticipantID, round_: int | None = None, update: Weights = UPDATE, key: str | None = None
    ) -> list[tuple[ParticipantID, Message]]:
        return self.tell(Contributed(who, self.session.round if round_ is None else round_, update, key))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.session.deadline <= self.now:
            self.tell(Ticked())

    @property
    def records(self) -> list[Outcome]:
        return [effect.outcome for effect in self.effects if isinstance(effect, Record)]


def models(sent: Sequence[tuple[ParticipantID, Message]]) -> list[tuple[ParticipantID, int, bool]]:
    return [(to, said.round, said.pushed) for to, said in sent if isinstance(said, GlobalModel)]


def news(sent: Sequence[tuple[ParticipantID, Message]]) -> dict[ParticipantID, list[type]]:
    heard: dict[ParticipantID, list[type]] = {}
    for to, said in sent:
        if isinstance(said, Enough | WaitingForMore | ParticipantsChanged):
            heard.setdefault(to, []).append(type(said))
    return heard


def test_newcomer_is_welcomed_with_the_current_model_and_whether_it_has_to_wait() -> None:
    room = Room()
    assert room.tell(Joined(A)) == [(A, Welcome(A, 0, MODEL, True, 1))]
    assert (B, Welcome(B, 0, MODEL, False, 2)) in room.tell(Joined(B))


def test_round_closes_when_everyone_present_has_contributed() -> None:
    room = Room()
    room.join(A, B, C)
    room.contribute(A)
    room.contribute(B)
    assert room.session.round == 0
    sent = room.contribute(C)
    assert room.session.round == 1
    assert models(sent) == [(A, 1, True), (B, 1, True), (C, 1, True)]


def test_round_waits_below_the_minimum_even_if_everyone_has_contributed() -> None:
    room = Room(minimum=2)
    room.join(A)
    room.contribute(A)
    assert room.session.round == 0
    room.join(B)
    room.contribute(B)
    assert room.closed == [2]


def test_round_closes_after_the_interval_with_what_it_has() -> None:
    room = Room(interval=30)
    room.join(A, B, C)
    room.contribute(A)
    room.wait(10)
    room.contribute(B)
    assert room.session.deadline == 30
    room.wait(20)
    assert room.closed == [2]


def test_interval_alone_does_not_close_a_round_below_the_minimum() -> None:
    room = Room(minimum=2, interval=30)
    room.join(A, B, C)
    room.contribute(A)
    assert room.session.deadline == math.inf
    room.wait(100)
    assert room.session.round == 0
    room.contribute(B)
    assert room.closed == [2], "the interval had passed, and now there are enough"


def test_only_the_first_contribution_of_a_round_counts() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A)
    room.contribute(A)
    assert room.records == [Outcome.DISCARDED]
    room.contribute(B)
    assert room.closed == [2]


def test_a_repeat_is_answered_with_the_model_only_where_models_are_asked_for() -> None:
    room = Room()
    room.join(A, pushed=False)
    room.join(B, pushed=True)
    room.contribute(A)
    assert models(room.contribute(A)) == [(A, 0, False)]
    room = Room(minimum=3)
    room.join(A, B)
    room.contribute(B)
    assert models(room.contribute(B)) == [], "whoever is pushed to would take it for the round's result"


def test_a_contribution_sent_again_under_its_key_is_told_that_it_counted() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A, key="k1")
    assert (A, Verdict(0, Outcome.ACCEPTED, "it had been counted already", "k1")) in room.contribute(
        A, key="k1"
    )
    assert any(
        isinstance(said, Verdict) and said.outcome is Outcome.DISCARDED
        for _, said in room.contribute(A, key="k2")
    )


@pytest.mark.parametrize("round_", [-1, 0, 2, 7])
def test_late_and_early_contributions_are_answered_with_the_current_round_and_model(round_: int) -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    sent = room.contribute(A, round_)
    assert room.records == [Outcome.DISCARDED]
    assert models(sent) == [(A, 1, False)]
    assert room.session.contributors == ()


def test_issue_1220_a_stale_client_is_told_the_current_round_so_that_its_next_contribution_counts() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    [(_, told, _)] = models(room.contribute(A, 0))
    room.contribute(A, told)
    assert room.session.contributors == (A,)


def test_issue_1221_whoever_left_takes_nobodys_place() -> None:
    room = Room()
    room.join(A, B, C)
    room.contribute(A)
    room.tell(Left(A))
    room.contribute(B)
    assert room.session.round == 0, "C is present and is waited for"
    room.contribute(C)
    assert room.closed == [3], "what A delivered counts"


def test_issue_1222_recovery_in_the_first_round_answers_round_zero() -> None:
    room = Room()
    room.join(A, B)
    assert models(room.contribute(A, -1)) == [(A, 0, False)]


def test_issue_707_participant_counts_follow_every_join_and_leave() -> None:
    room = Room(minimum=2)
    counts = []
    for event in (Joined(A), Joined(B), Joined(C), Left(B), Joined(B)):
        sent = room.tell(event)
        told = {
            said.participants
            for _, said in sent
            if not isinstance(said, Verdict | GlobalModel | Statistics | Metadata)
            and hasattr(said, "participants")
        }
        assert len(told) == 1
        counts.append(told.pop())
    assert counts == [1, 2, 3, 2, 3]


def test_leaving_closes_the_round_when_the_rest_have_contributed_and_are_enough() -> None:
    room = Room(minimum=2)
    room.join(A, B, C)
    room.contribute(A)
    room.contribute(B)
    room.tell(Left(C))
    assert room.closed == [2]


def test_what_was_delivered_before_leaving_closes_the_round_at_the_interval() -> None:
    room = Room(minimum=2, interval=30)
    room.join(A, B)
    room.contribute(A)
    room.tell(Left(A))
    room.contribute(B)
    assert room.session.round == 0
    room.wait(30)
    assert room.closed == [2]


def test_a_contribution_without_hello_does_not_count_and_is_not_waited_for() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(C)
    assert room.records == [Outcome.DISCARDED]
    room.contribute(A)
    room.contribute(B)
    assert room.closed == [2]


def test_another_structure_is_rejected_with_the_tensor_named_and_leaves_the_round_as_it_was() -> None:
    room = Room()
    room.join(A, B)
    wrong = Weights.zeros(((2, 2), (4,)))
    sent = room.contribute(A, update=wrong)
    assert room.records == [Outcome.REJECTED]
    [reason] = [said.reason for _, said in sent if isinstance(said, Verdict)]
    assert reason == "weights[1].shape is [4] where the model has [3]"
    assert models(sent) == [(A, 0, False)]
    assert room.session.contributors == ()


def test_values_that_are_not_finite_are_rejected_and_the_sender_may_try_again() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A, update=Weights.from_arrays([np.full(shape, np.nan) for shape in SHAPES]))
    assert room.records == [Outcome.REJECTED]
    room.contribute(A)
    assert room.session.contributors == (A,)


def test_unreadable_weights_are_rejected_with_their_reason() -> None:
    room = Room()
    room.join(A, B)
    sent = room.tell(Misdelivered(A, "weights[0].data is cut off"))
    assert (A, Verdict(0, Outcome.REJECTED, "weights[0].data is cut off")) in sent
    assert models(sent) == [(A, 0, False)]


def test_a_round_that_cannot_be_stored_keeps_its_contributions_and_is_tried_again() -> None:
    room = Room()
    room.disk_full = True
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    assert room.session.round == 0
    assert room.session.contributors == (A, B)
    assert room.session.deadline == 5.0
    room.disk_full = False
    room.wait(5)
    assert room.closed == [2]


def test_a_repeated_hello_is_answered_the_same_and_tells_nobody_else() -> None:
    room = Room()
    room.join(A, B)
    assert room.tell(Joined(A)) == [(A, Welcome(A, 0, MODEL, False, 2))]
    assert room.session.present == (A, B)


def test_reaching_the_minimum_resumes_who_waited_and_only_updates_the_others() -> None:
    room = Room(minimum=2)
    room.join(A)
    assert news(room.tell(Joined(B))) == {A: [Enough]}
    assert news(room.tell(Joined(C))) == {A: [ParticipantsChanged], B: [ParticipantsChanged]}


def test_falling_below_the_minimum_pauses_who_can_be_paused() -> None:
    room = Room(minimum=2)
    room.join(A, B, C)
    assert news(room.tell(Left(C))) == {A: [ParticipantsChanged], B: [ParticipantsChanged]}
    assert news(room.tell(Left(A))) == {B: [WaitingForMore]}


def test_a_client_in_its_first_training_after_enough_is_not_told_to_wait_again() -> None:
    room = Room(minimum=2)
    room.join(A, B)  # A waited and was told to go on
    assert news(room.tell(Left(B))) == {A: [ParticipantsChanged]}


def test_a_client_that_has_contributed_since_enough_can_be_told_to_wait_again() -> None:
    room = Room(minimum=2)
    room.join(A, B)
    room.contribute(A)
    assert news(room.tell(Left(B))) == {A: [WaitingForMore]}
    assert news(room.tell(Joined(B))) == {A: [Enough]}
    assert news(room.tell(Left(B))) == {A: [ParticipantsChanged]}, "nothing contributed since"


def test_the_model_stays_when_the_last_participant_leaves() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    room.tell(Left(A))
    room.tell(Left(B))
    assert room.session.round == 1


def test_reset_when_empty_starts_anew_at_round_zero() -> None:
    room = Room(reset=True)
    room.join(A, B)
    room.contribute(A)
    room.contribute(B)
    room.tell(Left(A))
    room.tell(Left(B))
    assert room.effects == [Reset()]
    assert (room.session.round, room.session.weights) == (0, MODEL)


def test_statistics_count_the_present_and_average_contributions_over_rounds() -> None:
    room = Room()
    assert room.tell(StatisticsRequested(A)) == [(A, Statistics(0, 0, 0, 0.0))]
    room.join(A, B, C)
    for who in (A, B, C):
        room.contribute(who)
    room.tell(Left(C))
    room.contribute(A)
    room.contribute(B)
    assert room.tell(StatisticsRequested(A)) == [(A, Statistics(2, 2, 5, 2.5))]


def test_statistics_go_on_after_a_restart() -> None:
    room = Room()
    room.session.resume(7, MODEL, closed_rounds=7, contributions=21)
    assert room.tell(StatisticsRequested(A)) == [(A, Statistics(7, 0, 21, 3.0))]


def test_the_model_is_given_to_whoever_asks() -> None:
    room = Room()
    assert room.tell(ModelRequested(A)) == [(A, GlobalModel(0, MODEL, 0, False))]


def test_metadata_is_read_from_the_newest_round_up_to_the_asked_one() -> None:
    room = Room()
    room.tell(MetadataPosted(A, 1, "k", "old"))
    room.tell(MetadataPosted(A, 3, "k", "new"))
    room.tell(MetadataPosted(A, 3, "k", "second"))
    assert room.tell(MetadataRequested(B, 2, "k")) == [(B, Metadata(TaskID("t"), B, 2, "k", ((A, "old"),)))]
    assert room.tell(MetadataRequested(B, 9, "k")) == [(B, Metadata(TaskID("t"), B, 9, "k", ((A, "new"),)))]


def test_metadata_over_its_limit_is_discarded_with_a_reason() -> None:
    room = Room()
    room.tell(MetadataPosted(A, 0, "k", "x" * 200))
    assert room.records == [Outcome.DISCARDED]
