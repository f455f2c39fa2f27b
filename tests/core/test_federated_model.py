"""A federated session against a plain model of the rules, over arbitrary histories."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from disco.core.events import Joined, Left
from disco.core.messages import Enough, GlobalModel, Message, ParticipantsChanged, WaitingForMore
from disco.core.names import ParticipantID
from tests.core.test_federated import Room

PEOPLE = [ParticipantID(name) for name in "abcde"]
people = st.sampled_from(PEOPLE)


class Rounds(RuleBasedStateMachine):
    """The rules in plain sets, and what each strict client would have understood."""

    @initialize(minimum=st.integers(1, 3), interval=st.sampled_from([10.0, 30.0]))
    def open(self, minimum: int, interval: float) -> None:
        self.room = Room(minimum, interval)
        self.minimum, self.interval = minimum, interval
        self.present: dict[ParticipantID, bool] = {}
        self.contributed: set[ParticipantID] = set()
        self.first_at: float | None = None
        self.round = 0
        self.waiting: dict[ParticipantID, bool] = {}

    def close_if_due(self) -> None:
        here = set(self.present)
        everyone = len(here) >= self.minimum and here <= self.contributed
        late = self.first_at is not None and self.room.now >= self.first_at + self.interval
        if len(self.contributed) >= self.minimum and (everyone or late):
            self.round += 1
            self.contributed, self.first_at = set(), None

    def hear(self, sent: list[tuple[ParticipantID, Message]], about: ParticipantID | None = None) -> None:
        """Be every client: a second Waiting before its next contribution is what kills real ones."""
        counted: list[ParticipantID] = []
        for to, message in sent:
            if isinstance(message, WaitingForMore):
                assert not self.waiting.get(to), f"{to} was told to wait twice"
                self.waiting[to] = True
            if isinstance(message, Enough | WaitingForMore | ParticipantsChanged):
                assert message.participants == len(self.present)
                counted.append(to)
        assert len(counted) == len(set(counted)), "one message a participant and event"
        if about is not None:
            assert set(counted) == set(self.present) - {about}

    @rule(who=people, pushed=st.booleans())
    def join(self, who: ParticipantID, pushed: bool) -> None:
        known = who in self.present
        self.present.setdefault(who, pushed)
        self.hear(self.room.tell(Joined(who, pushed)), None if known else who)

    @rule(who=people)
    def leave(self, who: ParticipantID) -> None:
        known = self.present.pop(who, None) is not None
        self.waiting.pop(who, None)
        self.hear(self.room.tell(Left(who)), who if known else None)
        if known:
            self.close_if_due()

    @rule(who=people, behind=st.sampled_from([0, 0, 0, 1, -1]))
    def contribute(self, who: ParticipantID, behind: int) -> None:
        sent = self.room.contribute(who, self.round - behind)
        counts = behind == 0 and who in self.present and who not in self.contributed
        if counts:
            self.contributed.add(who)
            self.first_at = self.room.now if self.first_at is None else self.first_at
            self.waiting[who] = False
            self.close_if_due()
        self.hear(sent)
        if behind and who in self.present:
            assert [said.round for to, said in sent if isinstance(said, GlobalModel)] == [self.round]

    @rule(seconds=st.sampled_from([1.0, 9.0, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.room.wait(seconds)
        self.close_if_due()

    @precondition(lambda self: hasattr(self, "room"))
    @invariant()
    def agrees(self) -> None:
        session = self.room.session
        assert session.round == self.round
        assert set(session.contributors) == self.contributed
        assert set(session.present) == set(self.present)


Rounds.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestRounds: Any = Rounds.TestCase
