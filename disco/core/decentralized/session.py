"""One decentralized task as its hub sees it: present, ready, introduced.

    Joined ─► IDLE ──RoundJoined──► TRAINING ──BecameReady──► READY ──PeersForRound──► IDLE
               │                                                ▲                       │
               └──ModelSyncRequested──► SYNCING ────────────────┘◄── BecameReady ── OUT ◄─┘ (could not be connected)

Every event is followed by the same question: do those who are ready make a round? If so, all its members are
introduced in one answer, back to back, because clients lose what a peer sends before they know that peer.

A session serves peers of one generation; peers of different generations could not talk to each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from disco.core.decentralized.barrier import Barrier
from disco.core.decentralized.policy import Announcements, Formation, Policy
from disco.core.decentralized.sync import ModelSync
from disco.core.effects import Disconnect, Effect, Record, Send
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
    DecentralizedMessage,
    Enough,
    Outcome,
    ParticipantsChanged,
    PeersForRound,
    PeerWelcome,
    Signal,
    WaitingForMore,
)
from disco.core.names import ParticipantID

#: RFC 6455 registry: "Try Again Later".
TRY_AGAIN_LATER = 1013

#: Unknown addressees reported for one sender: one who makes them up costs neither log nor memory.
REPORTED_ADDRESSEES = 64


class Phase(Enum):
    """What a peer does between rounds."""

    IDLE = auto()
    TRAINING = auto()
    SYNCING = auto()
    READY = auto()
    #: Excluded from a round, because it could not be connected; nobody waits for it until it is heard of again.
    OUT = auto()


class Notice(Enum):
    """What a peer was last told about the minimum.

    A client that is told twice in a row to wait dies, and it clears a wait only at the end of its local
    training. *Running*: it may be told to wait. *Waiting*: it was. *Resumed*: it was told to go on, but may
    not have cleared its wait yet.
    """

    RUNNING = auto()
    WAITING = auto()
    RESUMED = auto()


@dataclass(slots=True)
class Presence:
    """One peer, from its hello to its leaving."""

    notice: Notice
    mid_training: bool
    phase: Phase = Phase.IDLE
    unknown: set[ParticipantID] = field(default_factory=set)


class DecentralizedSession:
    """Introduce peers to each other, round by round.

    Events from somebody who has not joined, or who was refused, are recorded and change nothing; so are
    signals to peers who are not here. A repeated `Joined` gets the same answer; other repeats count once.

    Args:
        policy: how rounds form.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._peers: dict[ParticipantID, Presence] = {}
        self._barrier: Barrier | None = None
        self._sync = ModelSync()
        self._round = 0

    @property
    def deadline(self) -> float:
        """When `Ticked` is due, on the clock of `handle`; inf while nothing is."""
        return self._barrier.deadline if self._barrier is not None else math.inf

    @property
    def peers(self) -> tuple[ParticipantID, ...]:
        """Who is present, oldest first."""
        return tuple(self._peers)

    @property
    def ready(self) -> tuple[ParticipantID, ...]:
        """Who waits for the next round to be made, oldest first."""
        return tuple(peer for peer, presence in self._peers.items() if presence.phase is Phase.READY)

    @property
    def round(self) -> int:
        """The number of the next round, from 0."""
        return self._round

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        """Decide what follows from one event. Never raises for anything a peer may do.

        Args:
            event: of the decentralized vocabulary; others are recorded and change nothing.
            now: seconds.
        """
        effects = self._apply(event, now)
        if self._policy.syncs_models:
            effects += self._sync.assign(tuple(self._peers))
        effects += self._form(now)
        if self._barrier is not None and self._barrier.over:
            self._barrier = None
        return effects

    def _apply(self, event: Event, now: float) -> list[Effect]:
        match event:
            case Ticked():
                return self._expire(now)
            case Joined(participant):
                return self._join(participant)
            case Left(participant):
                return self._leave(participant, now)
        peer = getattr(event, "participant", None)
        if peer is None:
            return []
        if peer not in self._peers:
            return [Record(peer, Outcome.DISCARDED, "it has not joined this session")]
        return self._advance(peer, self._peers[peer], event, now)

    def _advance(self, peer: ParticipantID, presence: Presence, event: Event, now: float) -> list[Effect]:
        match event:
            case Signalled(_, to, signal):
                return self._forward(peer, presence, to, signal)
            case ConnectionsEstablished():
                return self._connect(peer)
            case RoundJoined():
                self._sync.finish(peer)
                presence.phase = Phase.TRAINING
                return self._withdraw(peer, now)
            case BecameReady():
                self._sync.finish(peer)
                presence.phase = Phase.READY
                if presence.notice is Notice.RESUMED:
                    presence.notice = Notice.RUNNING
                if self._barrier is not None and peer in self._barrier:
                    return list(self._barrier.rejoin(peer, now))
            case ModelSyncRequested() if self._policy.syncs_models:
                self._sync.request(peer)
                presence.phase = Phase.SYNCING
                return self._withdraw(peer, now)
            case _:
                return [
                    Record(peer, Outcome.DISCARDED, f"{type(event).__name__} has no place in this session")
                ]
        return []

    def _join(self, peer: ParticipantID) -> list[Effect]:
        effects: list[Effect] = []
        if peer not in self._peers:
            if len(self._peers) >= self._policy.max_peers:
                reason = f"this task has {self._policy.max_peers} peers, which is its limit; try again later"
                return [Disconnect(peer, TRY_AGAIN_LATER, reason)]
            few = len(self._peers) + 1 < self._policy.minimum
            notice = Notice.WAITING if few else Notice.RUNNING
            self._peers[peer] = Presence(notice, self._policy.syncs_models and self._sync.training)
            effects = self._announce(newcomer=peer)
        presence = self._peers[peer]
        welcome = PeerWelcome(
            peer, presence.notice is Notice.WAITING, len(self._peers), presence.mid_training
        )
        # The answer to its hello is the first that a newcomer hears.
        return [Send((peer,), welcome), *effects]

    def _leave(self, peer: ParticipantID, now: float) -> list[Effect]:
        if self._peers.pop(peer, None) is None:
            return []
        self._sync.leave(peer)
        return [*self._announce(), *self._withdraw(peer, now)]

    def _withdraw(self, peer: ParticipantID, now: float) -> list[Effect]:
        """Take a peer out of the round that is connecting, if it is in it."""
        if self._barrier is None or peer not in self._barrier:
            return []
        return list(self._barrier.leave(peer, now))

    def _expire(self, now: float) -> list[Effect]:
        """Act on the barrier's deadline."""
        if self._barrier is None:
            return []
        effects, excluded = self._barrier.expire(now, counts=self._awaited() >= self._policy.minimum)
        for peer in excluded:
            self._peers[peer].phase = Phase.OUT
        return list(effects)

    def _connect(self, peer: ParticipantID) -> list[Effect]:
        if self._barrier is None or peer not in self._barrier:
            return [Record(peer, Outcome.DISCARDED, "it is in no round that is connecting")]
        self._sync.connect(peer)
        return list(self._barrier.connect(peer))

    def _forward(
        self, sender: ParticipantID, presence: Presence, to: ParticipantID, signal: bytes
    ) -> list[Effect]:
        if to in self._peers and to != sender:
            return [Send((to,), Signal(sender, signal))]
        if to in presence.unknown or len(presence.unknown) >= REPORTED_ADDRESSEES:
            return []
        presence.unknown.add(to)
        last = len(presence.unknown) == REPORTED_ADDRESSEES
        more = "; further ones of this sender are not reported" if last else ""
        return [Record(sender, Outcome.DISCARDED, f"signal to {to[:8]}, who is not here{more}")]

    def _announce(self, newcomer: ParticipantID | None = None) -> list[Effect]:
        """Tell everybody but the newcomer what their number now means: one message each, or none."""
        few = len(self._peers) < self._policy.minimum
        waiting, resumed, unmoved = [], [], []
        for peer, presence in self._peers.items():
            if peer == newcomer:
                continue
            if few and presence.notice is Notice.RUNNING:
                presence.notice = Notice.WAITING
                waiting.append(peer)
            elif not few and presence.notice is Notice.WAITING:
                presence.notice = Notice.RESUMED
                resumed.append(peer)
            else:
                unmoved.append(peer)
        count = len(self._peers)
        messages: list[tuple[list[ParticipantID], DecentralizedMessage]] = []
        if self._policy.announcements is not Announcements.NONE:
            messages += [(waiting, WaitingForMore(count)), (resumed, Enough(count))]
        if self._policy.announcements is Announcements.COUNTS:
            messages.append((unmoved, ParticipantsChanged(count)))
        return [Send(tuple(to), message) for to, message in messages if to]

    def _form(self, now: float) -> list[Effect]:
        """Make a round of those who are ready, if they make one."""
        ready = self.ready
        if len(ready) < self._policy.minimum or len(ready) < self._awaited():
            return []
        for peer in ready:
            self._peers[peer].phase = Phase.IDLE
        regrouped = self._barrier is not None and not self._barrier.over
        self._round += not regrouped  # a round whose peers regrouped is the same round
        if self._policy.barrier is not None:
            retries = self._barrier.retries if self._barrier is not None and regrouped else 0
            self._barrier = Barrier(ready, self._policy.barrier, now, retries)
        others = {peer: tuple(other for other in ready if other != peer) for peer in ready}
        return [
            Send((peer,), PeersForRound(others[peer], self._round - 1, len(self._peers))) for peer in ready
        ]

    def _awaited(self) -> int:
        """Count the peers that must be ready before a round is made."""
        phases = [presence.phase for presence in self._peers.values()]
        match self._policy.formation:
            case Formation.FIRST_READY:
                return self._policy.minimum
            case Formation.ALL_JOINED:
                return phases.count(Phase.READY) + phases.count(Phase.TRAINING)
            case Formation.ALL_PRESENT:
                return len(phases) - phases.count(Phase.SYNCING) - phases.count(Phase.OUT)
