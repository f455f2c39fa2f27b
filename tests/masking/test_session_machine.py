"""A masked session under everything that can happen, in any order: members, time, the disk, operators, liars.

Checked throughout: rounds only grow; each model is the right mean of those who delivered (`Room` does, for every
round); nobody's two secrets are opened; who is present is who joined. In the end, honest members get a round closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from disco.core.events import Ended, Misdelivered, Restored, Ticked
from disco.core.masking.words import (
    KeysAdvertised,
    MaskedContributed,
    SharesRevealed,
    SharesSent,
)
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import ProtocolViolation
from tests.masking.room import SHAPES, Room, names

Shares: TypeAlias = dict[ParticipantID, bytes]

WHO = names(7)
anyone = st.sampled_from(WHO)
attempts = st.integers(0, 4)
places = st.integers(1, 7).map(str).map(ParticipantID)
share_maps = st.dictionaries(places, st.binary(min_size=66, max_size=66), max_size=7)


class MaskedTraining(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self.here: dict[ParticipantID, None] = {}
        self.rounds = 0

    # ── members ──────────────────────────────────────────────────────────────────────────────────────────

    @rule(who=st.lists(anyone, min_size=1, unique=True))
    def some_join(self, who: list[ParticipantID]) -> None:
        self.room.join(*who)
        for name in who:
            self.here.setdefault(name)
            self.room.members.pop(name, None)

    @rule(who=anyone)
    def one_leaves(self, who: ParticipantID) -> None:
        self.room.leave(who)
        self.here.pop(who, None)

    @rule()
    def everybody_has_a_contribution(self) -> None:
        self.room.advertise(*self.here)

    @rule(who=anyone)
    def one_has_a_contribution(self, who: ParticipantID) -> None:
        if who in self.here:
            self.room.advertise(who)

    @rule(but=st.sets(anyone, max_size=3))
    def most_do_their_step(self, but: set[ParticipantID]) -> None:
        self._step([name for name in self.here if name not in but])

    @rule(who=anyone)
    def one_does_its_step(self, who: ParticipantID) -> None:
        self._step([who] if who in self.here else [])

    def _step(self, who: Iterable[ParticipantID]) -> None:
        for name in who:
            with suppress(ProtocolViolation):  # it has new keys, and can do nothing for the old ones
                self.room.step([name])

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([0.0, 1.0, 59.0, 61.0, 601.0]))
    def time_passes(self, seconds: float) -> None:
        self.room.wait(seconds)

    @rule(full=st.booleans())
    def the_disk_changes(self, full: bool) -> None:
        self.room.disk_full = full

    @rule()
    def an_operator_brings_the_first_model_back(self) -> None:
        self.rounds = self.room.session.round + 1
        self.room.handle(Restored(self.rounds, self.room.initial))

    @rule()
    def the_training_ends_and_goes_on(self) -> None:
        self.room.handle(Ended("enough"))
        assert self.room.session.ended == "enough"
        self.room.advertise(*self.here)
        assert self.room.session.contributors == ()
        self.an_operator_brings_the_first_model_back()
        assert not self.room.session.ended

    # ── liars ────────────────────────────────────────────────────────────────────────────────────────────

    @rule(who=anyone, attempt=attempts, shares=share_maps)
    def shares_come_for_whomever(self, who: ParticipantID, attempt: int, shares: Shares) -> None:
        self.room.handle(SharesSent(who, attempt, shares))

    @rule(who=anyone, attempt=attempts, size=st.sampled_from([0, 10, 12]))
    def a_contribution_of_another_size_comes(self, who: ParticipantID, attempt: int, size: int) -> None:
        self.room.handle(MaskedContributed(who, attempt, np.zeros(size, dtype=np.uint32)))

    @rule(who=anyone, attempt=attempts, seeds=share_maps, mask_keys=share_maps)
    def secrets_are_wrong(self, who: ParticipantID, attempt: int, seeds: Shares, mask_keys: Shares) -> None:
        self.room.handle(SharesRevealed(who, attempt, seeds, mask_keys))

    @rule(who=anyone, number=st.integers(0, 6))
    def keys_come_for_some_round_from_somebody(self, who: ParticipantID, number: int) -> None:
        if (who not in self.here or number != self.room.session.round) and WHO[0] in self.room.members:
            self.room.handle(KeysAdvertised(who, number, self.room.members[WHO[0]].keys))

    @rule(who=anyone)
    def something_cannot_be_read(self, who: ParticipantID) -> None:
        self.room.handle(Misdelivered(who, "masked is missing"))

    @rule()
    def the_clock_strikes_for_nothing(self) -> None:
        self.room.handle(Ticked())

    # ── what always holds ────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def rounds_only_grow(self) -> None:
        assert self.room.session.round >= self.rounds
        self.rounds = self.room.session.round

    @invariant()
    def nobody_s_two_secrets_are_opened(self) -> None:
        for plan in self.room.plans:
            assert not plan.seeds.keys() & plan.mask_keys.keys()
            assert len(plan.seeds) >= plan.threshold > len(plan.members) / 2

    @invariant()
    def who_is_present_is_who_joined(self) -> None:
        assert set(self.room.session.present) == self.here.keys()

    @invariant()
    def nothing_that_is_due_is_left(self) -> None:
        assert self.room.session.deadline == float("-inf") or self.room.session.deadline >= 0

    def teardown(self) -> None:
        """Let everybody be honest, and see that a round closes."""
        room = self.room
        room.disk_full = False
        room.wait(10_000)
        room.join(*WHO)
        before = room.session.round
        for _ in range(3):
            room.advertise(*WHO)
            for _ in range(4):
                self._step(WHO)
        room.wait(100)
        assert room.session.round > before


TestMaskedTraining = MaskedTraining.TestCase
TestMaskedTraining.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_a_sum_is_one_contribution_to_the_strategy() -> None:
    room, who = Room(), WHO[:3]
    room.join(*who)
    room.advertise(*who)
    for _ in range(3):
        room.step(who)
    assert isinstance(room.summed, Weights)
    assert room.summed.shapes == SHAPES
    assert room.closed[0].contributions == 3
