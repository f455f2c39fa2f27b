"""Asynchronous rounds: a real session with FedBuff's strategy, against the paper's formula in plain arrays.

Every contribution changes a coordinate of its own, so that in the model a double count shows as twice its size and
a loss as 0.
"""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from disco.core.aggregation.mean import Mean
from disco.core.aggregation.staleness import Staleness
from disco.core.aggregation.strategy import Strategy
from disco.core.effects import Aggregate, Fold
from disco.core.events import (
    Aggregated,
    AggregationFailed,
    Contributed,
    FederatedEvent,
    Folded,
    FoldRefused,
    Joined,
    Left,
)
from disco.core.federated import FederatedSession, RoundRules
from disco.core.messages import Outcome
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate
from tests.core.test_federated import Room, models

SIZE = 64
A, B, C, D = (ParticipantID(name) for name in "abcd")
PEOPLE = [A, B, C, D, ParticipantID("e")]


class BufferRoom(Room):
    """Performs folds and aggregations with a real strategy."""

    def __init__(self, buffer: int, max_staleness: int, minimum: int = 2, interval: float = 30.0) -> None:
        super().__init__(minimum, interval)
        rules = RoundRules(minimum, interval, 5.0, buffer=buffer, max_staleness=max_staleness)
        self.initial = Weights.zeros([(SIZE,)])
        self.session = FederatedSession(TaskID("t"), rules, self.initial, Noticeboard(4, 100))
        self.strategy = Strategy(Mean(), changes=[Staleness(max_staleness)])
        self.strategy.begin(self.initial, 0)

    def fold(self, effect: Fold) -> FederatedEvent:
        try:
            self.strategy.add(effect.contribution)
        except InvalidUpdate as error:
            return FoldRefused(effect.contribution, str(error))
        return Folded(effect.contribution)

    def aggregate(self, effect: Aggregate) -> FederatedEvent:
        weights = self.strategy.finish()
        if self.disk_full:
            return AggregationFailed("the disk is full")
        self.closed.append(effect.figures.contributions)
        self.strategy.begin(weights, effect.figures.number)
        return Aggregated(effect.figures.number, weights)

    def train(self, who: ParticipantID, round_: int, base: Weights) -> list[Outcome]:
        """Contribute the model of a round, changed in the next coordinate."""
        update = Weights.from_flat(base.flat.copy(), base.shapes)
        update.flat[0] += 1.0
        self.tell(Contributed(who, round_, update))
        return self.records


def test_a_round_closes_when_its_buffer_is_full() -> None:
    room = BufferRoom(buffer=2, max_staleness=5)
    room.join(A, B, C, D)
    room.train(A, 0, room.initial)
    assert room.session.round == 0

    room.train(B, 0, room.initial)

    assert room.closed == [2]


def test_who_was_slow_counts_in_the_next_round_by_its_staleness() -> None:
    room = BufferRoom(buffer=2, max_staleness=5)
    room.join(A, B, C, D)
    for who in (A, B):
        room.train(who, 0, room.initial)
    room.train(A, 1, room.session.weights)
    assert room.train(C, 0, room.initial)[0] is Outcome.ACCEPTED

    assert room.session.round == 2
    np.testing.assert_allclose(room.session.weights.flat[0], 1.0 + (1.0 + 1 / math.sqrt(2)) / 2, rtol=1e-6)


def test_who_was_slow_hears_of_the_round_that_it_counts_in() -> None:
    room = BufferRoom(buffer=2, max_staleness=5)
    room.join(A, B, C, D)
    for who in (A, B):
        room.train(who, 0, room.initial)
    room.train(C, 0, room.initial)
    sent = room.tell(Contributed(D, 0, room.initial))

    assert models(sent) == [(C, 2, True), (D, 2, True)]


def test_who_was_too_slow_is_answered_with_the_current_model() -> None:
    room = BufferRoom(buffer=2, max_staleness=1)
    room.join(A, B, C, D)
    for number in range(2):
        for who in (A, B):
            room.train(who, number, room.session.weights)
    sent = room.tell(Contributed(C, 0, room.initial))

    assert room.records == [Outcome.DISCARDED]
    assert models(sent) == [(C, 2, False)]


def test_a_participant_counts_once_a_buffer() -> None:
    room = BufferRoom(buffer=3, max_staleness=5)
    room.join(A, B, C, D)
    room.train(A, 0, room.initial)

    assert room.train(A, 0, room.initial) == [Outcome.DISCARDED]


def test_fewer_participants_than_the_buffer_takes_close_a_round_when_all_have_contributed() -> None:
    room = BufferRoom(buffer=5, max_staleness=5)
    room.join(A, B)
    room.train(A, 0, room.initial)
    room.train(B, 0, room.initial)

    assert room.closed == [2]


def test_a_buffer_that_does_not_fill_closes_after_the_interval() -> None:
    room = BufferRoom(buffer=3, max_staleness=5, interval=30.0)
    room.join(A, B, C, D)
    room.train(A, 0, room.initial)
    room.train(B, 0, room.initial)
    room.wait(30.0)

    assert room.closed == [2]


def test_a_negative_round_never_was() -> None:
    room = BufferRoom(buffer=2, max_staleness=5)
    room.join(A, B, C)

    assert room.train(A, -1, room.initial) == [Outcome.DISCARDED]


class Buffers(RuleBasedStateMachine):
    """Participants train on whatever model they have, and everything else happens in between."""

    @initialize(buffer=st.integers(2, 4), max_staleness=st.integers(0, 3), minimum=st.integers(1, 2))
    def open(self, buffer: int, max_staleness: int, minimum: int) -> None:
        self.room = BufferRoom(buffer, max_staleness, minimum)
        self.buffer, self.limit, self.minimum = buffer, max_staleness, minimum
        self.models: list[NDArray[np.float64]] = [np.zeros(SIZE)]
        self.changes: dict[ParticipantID, NDArray[np.float64]] = {}
        self.present: set[ParticipantID] = set()
        self.first_at = math.inf
        self.next_coordinate = 0

    def close_if_due(self) -> None:
        full = len(self.changes) >= self.buffer
        everyone = len(self.present) >= self.minimum and self.present <= self.changes.keys()
        late = self.room.now >= self.first_at + 30.0
        if len(self.changes) >= self.minimum and (full or everyone or late) and not self.room.disk_full:
            self.models.append(self.models[-1] + sum(self.changes.values()) / len(self.changes))
            self.changes, self.first_at = {}, math.inf

    @rule(who=st.sampled_from(PEOPLE))
    def join(self, who: ParticipantID) -> None:
        self.present.add(who)
        self.room.tell(Joined(who))

    @rule(who=st.sampled_from(PEOPLE))
    def leave(self, who: ParticipantID) -> None:
        was_present = who in self.present
        self.present.discard(who)
        self.room.tell(Left(who))
        if was_present:
            self.close_if_due()

    @rule(who=st.sampled_from(PEOPLE), behind=st.integers(0, 4))
    def contribute(self, who: ParticipantID, behind: int) -> None:
        current = len(self.models) - 1
        began = max(current - behind, 0)
        change = np.zeros(SIZE)
        change[self.next_coordinate % SIZE] = 1.0
        self.next_coordinate += 1
        update = (self.models[began] + change).astype(np.float32)
        if who in self.present and who not in self.changes and current - began <= self.limit:
            self.changes[who] = change / math.sqrt(1 + current - began)
            self.first_at = min(self.first_at, self.room.now)
            counts = True
        else:
            counts = False
        self.room.tell(Contributed(who, began, Weights.from_flat(update, [(SIZE,)])))
        assert (self.room.records[0] is Outcome.ACCEPTED) == counts
        if counts:
            self.close_if_due()

    @rule(seconds=st.sampled_from([1.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.room.wait(seconds)
        self.close_if_due()

    @rule()
    def fill_the_disk_for_a_while(self) -> None:
        self.room.disk_full = True
        self.wait(31.0)
        self.room.disk_full = False
        self.wait(31.0)

    @precondition(lambda self: hasattr(self, "room"))
    @invariant()
    def follows_the_formula(self) -> None:
        assert self.room.session.round == len(self.models) - 1
        assert set(self.room.session.contributors) == self.changes.keys()
        np.testing.assert_allclose(self.room.session.weights.flat, self.models[-1], atol=1e-5)


Buffers.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBuffers: Any = Buffers.TestCase
