"""Random walks through the hub, for every policy, against a model that knows only what a peer could know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from disco.core.decentralized import Announcements, BarrierLimits, DecentralizedSession, Formation, Policy
from disco.core.effects import Effect, Send
from disco.core.events import (
    BecameReady,
    ConnectionsEstablished,
    Event,
    Joined,
    Left,
    ModelSyncRequested,
    RoundJoined,
    Signalled,
    Ticked,
)
from disco.core.messages import (
    ConnectionsFailed,
    Enough,
    ModelProvider,
    ModelWanted,
    ParticipantsChanged,
    PeersForRound,
    PeerWelcome,
    RetryConnections,
    Signal,
    StartSharing,
    WaitingForMore,
)
from disco.core.names import ParticipantID

IDS = [ParticipantID(str(number)) for number in range(7)]
peers = st.sampled_from(IDS)
POLICIES = [
    policy
    for minimum in (1, 2, 3)
    for policy in (
        Policy.first_ready(minimum, max_peers=6),
        Policy.all_joined(minimum, max_peers=6),
        Policy.all_present(minimum, barrier=BarrierLimits(10, 1), max_peers=6),
    )
]


class Hub(RuleBasedStateMachine):
    """Peers that join, train, get ready, connect, fetch, signal and leave as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.present: set[ParticipantID] = set()
        self.ready: set[ParticipantID] = set()
        self.joined: set[ParticipantID] = set()
        self.syncing: set[ParticipantID] = set()
        self.connecting: set[ParticipantID] = set()
        self.unconnected: set[ParticipantID] = set()
        self.regrouping: set[ParticipantID] = set()
        self.out: set[ParticipantID] = set()
        self.again: set[ParticipantID] = set()
        self.waiting: dict[ParticipantID, bool] = {}
        self.uncleared: set[ParticipantID] = set()
        self.rounds = 0

    @initialize(policy=st.sampled_from(POLICIES))
    def open(self, policy: Policy) -> None:
        self.policy = policy
        self.session = DecentralizedSession(policy)

    def drop(self, peer: ParticipantID) -> None:
        for group in (self.ready, self.joined, self.syncing, self.out):
            group.discard(peer)
        self.give_up(peer)

    def give_up(self, peer: ParticipantID) -> None:
        for group in (self.connecting, self.unconnected, self.regrouping):
            group.discard(peer)

    def handle(self, event: Event) -> Sequence[Effect]:
        effects = self.session.handle(event, self.now)
        # In the order of the effects: who is excluded is so before the round that the others make in the same step.
        for effect in effects:
            if isinstance(effect, Send):
                assert effect.to
                assert set(effect.to) <= self.present, "a message to somebody who is not here"
                self.check_barrier(effect)
        self.check_introductions(effects)
        self.check_notices(event, effects)
        return effects

    def check_introductions(self, effects: Sequence[Effect]) -> None:
        lists: dict[ParticipantID, PeersForRound] = {}
        places = []
        for place, effect in enumerate(effects):
            if isinstance(effect, Send) and isinstance(effect.message, PeersForRound):
                (to,) = effect.to
                assert to not in lists, "invited twice"
                lists[to] = effect.message
                places.append(place)
        if not lists:
            return
        group = set(lists)
        assert places == list(range(places[0], places[0] + len(places))), "lists are not back to back"
        assert group <= self.ready, "invited who was not ready, or had left"
        assert len(group) >= self.policy.minimum
        for to, message in lists.items():
            assert set(message.peers) == group - {to}, "a split round, or invited to itself"
            assert len(message.peers) == len(set(message.peers))
            again = bool(self.again)
            assert message.round == self.rounds - again
            assert message.participants == len(self.present)
        self.rounds += not again
        self.ready -= group
        self.joined -= group
        if self.policy.barrier is not None:
            assert not self.connecting, "a second round while one connects"
            assert not self.regrouping, "a round without those who were to begin again"
            self.connecting, self.unconnected, self.again = set(group), set(group), set()

    def check_notices(self, event: Event, effects: Sequence[Effect]) -> None:
        heard: dict[ParticipantID, list[Any]] = {}
        for effect in effects:
            if isinstance(effect, Send) and isinstance(
                effect.message, WaitingForMore | Enough | ParticipantsChanged
            ):
                assert self.policy.announcements is not Announcements.NONE
                assert effect.message.participants == len(self.present)
                for to in effect.to:
                    heard.setdefault(to, []).append(effect.message)
        for to, messages in heard.items():
            (message,) = messages
            few = len(self.present) < self.policy.minimum
            if isinstance(message, WaitingForMore):
                assert few
                assert not self.waiting[to], "told to wait twice in a row"
                assert to not in self.uncleared, "told to wait before it cleared its last wait"
                self.waiting[to] = True
            elif isinstance(message, Enough):
                assert not few
                assert self.waiting[to]
                self.waiting[to] = False
                self.uncleared.add(to)
            else:
                assert self.policy.announcements is Announcements.COUNTS
        if self.policy.announcements is not Announcements.NONE and len(self.present) >= self.policy.minimum:
            assert not any(self.waiting[peer] for peer in self.present), "left waiting though they are enough"
        if self.policy.announcements is Announcements.COUNTS and isinstance(event, Left):
            assert set(heard) in (self.present, set()), "somebody was not told"

    def check_barrier(self, effect: Send) -> None:
        match effect.message:
            case StartSharing():
                assert not self.unconnected & set(effect.to), "sharing before all are connected"
                assert set(effect.to) == self.connecting
                assert len(effect.to) >= self.policy.minimum
                self.connecting = set()
            case ConnectionsFailed():
                assert set(effect.to) <= self.unconnected | self.regrouping
                for peer in effect.to:
                    self.give_up(peer)
                    self.again.discard(peer)
                    self.out.add(peer)
            case RetryConnections():
                assert set(effect.to) <= self.connecting | self.regrouping
                if self.connecting:
                    assert set(effect.to) == self.connecting, "somebody connects on while others begin again"
                    self.again = set(self.connecting)
                self.regrouping |= self.connecting
                self.connecting, self.unconnected = set(), set()
            case ModelProvider(provider):
                assert provider in self.present - self.syncing
            case ModelWanted(newcomer):
                assert newcomer in self.syncing

    @rule(peer=peers)
    def join(self, peer: ParticipantID) -> None:
        new = peer not in self.present
        refused = new and len(self.present) >= self.policy.max_peers
        before = dict(self.waiting)
        if new and not refused:
            self.present.add(peer)
            self.waiting[peer] = len(self.present) < self.policy.minimum
            self.uncleared.discard(peer)
        effects = self.handle(Joined(peer))
        if refused:
            assert not any(isinstance(effect, Send) for effect in effects)
            return
        first = effects[0]
        assert isinstance(first, Send)
        assert isinstance(first.message, PeerWelcome)
        assert first.to == (peer,)
        assert first.message.participants == len(self.present)
        if self.policy.announcements is not Announcements.NONE:
            assert first.message.waiting == (self.waiting[peer] if new else before[peer])
        if not new:
            assert len(effects) == 1

    @rule(peer=peers)
    def leave(self, peer: ParticipantID) -> None:
        self.present.discard(peer)
        self.drop(peer)
        self.again.discard(peer)
        self.waiting.pop(peer, None)
        self.handle(Left(peer))

    @rule(peer=peers)
    def start_training(self, peer: ParticipantID) -> None:
        if peer in self.present:
            self.drop(peer)
            self.again.discard(peer)
            self.joined.add(peer)
        self.handle(RoundJoined(peer))

    @rule(peer=peers)
    def get_ready(self, peer: ParticipantID) -> None:
        if peer in self.present:
            self.ready.add(peer)
            self.joined.add(peer)
            self.syncing.discard(peer)
            self.out.discard(peer)
            if peer in self.connecting:
                self.again.discard(peer)
            self.give_up(peer)
            self.uncleared.discard(peer)
        self.handle(BecameReady(peer))

    @rule(peer=peers)
    def connect(self, peer: ParticipantID) -> None:
        self.unconnected.discard(peer)
        self.handle(ConnectionsEstablished(peer))

    @rule()
    def all_get_ready(self) -> None:
        for peer in sorted(self.present - self.ready - self.connecting):
            self.get_ready(peer)

    @rule()
    def all_connect(self) -> None:
        for peer in sorted(self.unconnected):
            self.connect(peer)

    @rule(peer=peers)
    def fetch(self, peer: ParticipantID) -> None:
        if peer in self.present and self.policy.syncs_models:
            self.drop(peer)
            self.again.discard(peer)
            self.syncing.add(peer)
        self.handle(ModelSyncRequested(peer))

    @rule(sender=peers, to=peers, signal=st.binary(max_size=4))
    def signal(self, sender: ParticipantID, to: ParticipantID, signal: bytes) -> None:
        effects = self.handle(Signalled(sender, to, signal))
        sent = [effect for effect in effects if isinstance(effect, Send)]
        here = sender in self.present and to in self.present and sender != to
        assert sent == ([Send((to,), Signal(sender, signal))] if here else [])

    @rule(seconds=st.floats(0, 20))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Ticked())

    @invariant()
    def no_ready_peer_waits_while_they_are_enough(self) -> None:
        if not self.present or len(self.ready) < self.policy.minimum:
            return
        match self.policy.formation:
            case Formation.FIRST_READY:
                raise AssertionError("enough are ready, and they wait")
            case Formation.ALL_JOINED:
                assert self.joined - self.ready, "all who joined are ready, and they wait"
            case Formation.ALL_PRESENT:
                assert self.present - self.syncing - self.out - self.ready, "all are ready, and they wait"

    @invariant()
    def who_connects_has_a_deadline(self) -> None:
        if hasattr(self, "session"):
            assert math.isfinite(self.session.deadline) == bool(self.unconnected | self.regrouping)


TestHub = Hub.TestCase
TestHub.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
