"""A masked session with its members in one place, without a network: every step is taken by hand."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Iterable

import numpy as np

from disco.core.effects import Aggregate, Effect, Fold, Record, RoundFigures, Send
from disco.core.events import Aggregated, AggregationFailed, Event, Folded, Joined, Left, Ticked
from disco.core.masking.attempt import Phase
from disco.core.masking.member import Footing, Member
from disco.core.masking.quantization import Grid
from disco.core.masking.rules import MaskedRules
from disco.core.masking.session import MaskedSession
from disco.core.masking.shamir import Entropy
from disco.core.masking.terms import Terms
from disco.core.masking.total import MaskedTotal
from disco.core.masking.words import (
    Abandon,
    BeginSum,
    FoldMasked,
    KeysAdvertised,
    MaskedFolded,
    MaskedMessage,
    Roster,
    RoundAbandoned,
    SharesRelayed,
    Survivors,
    Unmask,
    Unmasked,
    UnmaskingFailed,
)
from disco.core.messages import GlobalModel, Message, Verdict
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights
from disco.errors import ProtocolViolation

TASK = TaskID("tides")
TERMS = Terms(range=4.0, dropouts=1 / 3, phase_seconds=60.0)
INTERVAL, RETRY = 600.0, 10.0
SHAPES = ((2, 3), (), (4,))


def seeded(seed: object) -> Entropy:
    """Random bytes that are the same each time."""
    return random.Random(repr(seed)).randbytes


def names(count: int) -> list[ParticipantID]:
    return [ParticipantID(f"member-{number:02}") for number in range(count)]


class Room:
    """A session, what performs its effects, and members who do their next step when they are told to."""

    def __init__(self, *, minimum: int = 3, terms: Terms = TERMS, reset_when_empty: bool = False) -> None:
        self.terms = terms
        self.initial = Weights.from_flat(np.linspace(-1, 1, 11).astype(np.float32), SHAPES)
        rules = MaskedRules(minimum, INTERVAL, RETRY, terms, reset_when_empty)
        self.session = MaskedSession(TASK, rules, self.initial)
        self.footing = Footing(TASK, terms, minimum)
        self.now = 0.0
        self.disk_full = False
        self.total: MaskedTotal | None = None
        self.summed: Weights | None = None
        self.members: dict[ParticipantID, Member] = {}
        self.updates: dict[ParticipantID, Weights] = {}
        self.inboxes: dict[ParticipantID, deque[Message]] = {}
        self.records: list[Record] = []
        self.abandoned: list[str] = []
        self.closed: list[RoundFigures] = []
        self.plans: list[Unmask] = []
        self.contributed: dict[int, tuple[ParticipantID, ...]] = {}

    # ── the runtime ──────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: object) -> list[Effect]:
        """Hand an event in and perform all that follows; returns the effects."""
        events, performed = deque([event]), []
        while events:
            for effect in self.session.handle(events.popleft(), self.now):  # type: ignore[arg-type]
                performed.append(effect)
                if (answer := self._perform(effect)) is not None:
                    events.append(answer)
        return performed

    def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Send(to, message):
                for name in to:
                    if name in self.inboxes:
                        self.inboxes[name].append(message)
            case Record():
                self.records.append(effect)
            case BeginSum(parameters):
                self.total = MaskedTotal(parameters)
            case FoldMasked(contribution):
                assert self.total is not None
                self.total.add(contribution.masked)
                return MaskedFolded(contribution)
            case Unmask():
                return self._unmask(effect)
            case Fold(contribution):
                self.summed = contribution.update
                return Folded(contribution)
            case Aggregate(figures):
                return self._store(figures)
            case Abandon(_, reason):
                self.total = None
                self.abandoned.append(reason)
        return None

    def _unmask(self, plan: Unmask) -> Event:
        assert self.total is not None
        self.plans.append(plan)
        try:
            return Unmasked(self.total.unmask(plan))
        except ProtocolViolation as error:
            return UnmaskingFailed(str(error))

    def _store(self, figures: RoundFigures) -> Event:
        assert self.summed is not None
        if self.disk_full:
            return AggregationFailed("the disk is full")
        self.closed.append(figures)
        delivered = tuple(self.session.contributors)
        self.contributed[figures.number] = delivered
        wanted = self.mean(self.session.weights, delivered)
        np.testing.assert_allclose(
            self.summed.flat, wanted, rtol=0, atol=self.tolerance(len(self.plans[-1].members))
        )
        return Aggregated(figures.number, self.summed)

    # ── members ──────────────────────────────────────────────────────────────────────────────────────────

    def join(self, *who: ParticipantID) -> None:
        for name in who:
            self.inboxes[name] = deque()
            self.handle(Joined(name))

    def leave(self, *who: ParticipantID) -> None:
        for name in who:
            self.inboxes.pop(name, None)
            self.members.pop(name, None)
            self.handle(Left(name))

    def advertise(self, *who: ParticipantID) -> None:
        """Have a contribution: random, another for every member and round."""
        for name in who:
            entropy = seeded((name, self.session.round, len(self.abandoned)))
            member = self.members[name] = Member(name, self.session.round, self.footing, entropy)
            chance = np.random.default_rng(list(f"{name}{self.session.round}".encode()))
            change = chance.uniform(-3, 3, self.initial.parameters)
            flat = (self.session.weights.flat + change).astype(np.float32)
            self.updates[name] = Weights.from_flat(flat, SHAPES)
            self.handle(KeysAdvertised(name, self.session.round, member.keys))

    def asked(self, name: ParticipantID) -> MaskedMessage | None:
        """Take the next message of a masked round out of a member's inbox."""
        inbox = self.inboxes[name]
        while inbox:
            message = inbox.popleft()
            if isinstance(message, MaskedMessage) and not isinstance(message, RoundAbandoned):
                return message
        return None

    def answer(self, name: ParticipantID) -> Event | None:
        """Return what a member answers to what it is asked; the caller hands it in, or does not."""
        member = self.members[name]
        match self.asked(name):
            case Roster() as roster:
                return member.share(roster)
            case SharesRelayed() as relayed:
                return member.mask(relayed, self.updates[name], self.session.weights)
            case Survivors() as survivors:
                return member.reveal(survivors)
        return None

    def step(self, who: Iterable[ParticipantID]) -> None:
        """Let members do what they are asked, in order."""
        for name in who:
            if name in self.members and (event := self.answer(name)) is not None:
                self.handle(event)

    def wait(self, seconds: float) -> None:
        """Let time pass; a deadline that comes meanwhile is told."""
        until = self.now + seconds
        while self.session.deadline <= until:
            self.now = max(self.now, self.session.deadline)
            self.handle(Ticked())
        self.now = until

    # ── what ought to be ─────────────────────────────────────────────────────────────────────────────────

    def mean(self, base: Weights, of: Collection[ParticipantID]) -> np.ndarray:
        changes = [self.updates[name].flat.astype(np.float64) - base.flat for name in of]
        clipped = np.clip(changes, -self.terms.range, self.terms.range)
        return np.asarray(base.flat + clipped.mean(axis=0))

    def tolerance(self, members: int) -> float:
        """Half a step, and the rounding of results of up to 64 to float32."""
        return Grid(self.terms.range, members).step / 2 + 64 * 2.0**-24

    def verdicts(self, name: ParticipantID) -> list[Verdict]:
        return [message for message in self.inboxes[name] if isinstance(message, Verdict)]

    def model_told(self, name: ParticipantID) -> GlobalModel | None:
        found = [message for message in self.inboxes[name] if isinstance(message, GlobalModel)]
        return found[-1] if found else None


def gathered(count: int, **options: object) -> tuple[Room, list[ParticipantID]]:
    """A room in which everybody has advertised keys, and is asked for shares."""
    room, who = Room(**options), names(count)  # type: ignore[arg-type]
    room.join(*who)
    room.advertise(*who)
    return room, who


#: In which members have something to do.
PHASES = list(Phase)[:3]
