"""A federated session: who takes part, what they contributed, and when a round closes.

    ┌───────────────────────────── round r is open ──────────────────────────────┐
    │ Contributed ── right ──▶ Fold ──▶ Folded ──▶ counted                       │
    │             ├─ late, early, again, or from nobody ──▶ discarded, answered   │
    │             └─ malformed, another structure, not finite ──▶ rejected, answered
    └── everyone present has contributed and they are enough,                    ─┘
        or the interval has passed and enough have contributed,
        or a buffered (asynchronous) round has all the contributions that it takes
                   │
                   ▼
              Aggregate ──▶ Aggregated: round r + 1, pushed to those who contributed
                        └─▶ AggregationFailed: the round stays as it is and is tried again

Whoever leaves takes nobody's place: what it delivered counts, and the round still waits for every participant
that is present. The session never waits, reads no clock and knows no dialect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from disco.core.events import (
    Aggregate,
    Aggregated,
    AggregationFailed,
    Contributed,
    Effect,
    Enough,
    FederatedEvent,
    Fold,
    Folded,
    FoldRefused,
    GlobalModel,
    Joined,
    Left,
    Metadata,
    MetadataPosted,
    MetadataRequested,
    Misdelivered,
    ModelRequested,
    Outcome,
    ParticipantID,
    ParticipantsChanged,
    Record,
    Reset,
    Restored,
    RoundFigures,
    Send,
    Statistics,
    StatisticsRequested,
    TaskID,
    Ticked,
    Verdict,
    WaitingForMore,
    Welcome,
)
from disco.core.metadata import Noticeboard
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, LimitExceeded

#: Rounds for which the keys of what counted are remembered, at least.
REMEMBERED_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class RoundRules:
    """When rounds close.

    Args:
        minimum: participants that make a round, at least 1.
        interval: seconds after a round's first contribution when it closes with what it has.
        retry: seconds before a round that could not be aggregated is tried again.
        reset_when_empty: whether the training starts anew when the last participant leaves.
        buffer: contributions with which a round closes at once, at least the minimum; None to wait for everyone.
        max_staleness: rounds that a contribution may be behind and still count.
    """

    minimum: int
    interval: float
    retry: float
    reset_when_empty: bool = False
    buffer: int | None = None
    max_staleness: int = 0


@dataclass(slots=True)
class _Seat:
    """What the session knows of one participant that is present.

    Args:
        pushed: it is sent the global model when a round closes.
        waiting: it was last told to wait for more participants.
        may_wait: it can be told to wait. A client that is told twice, without having contributed after it was
            told to go on, fails (DISCO v3 wire, WaitingForMoreParticipants).
    """

    pushed: bool
    waiting: bool
    may_wait: bool


class FederatedSession:
    """One task's federated training: `handle` takes an event and returns what is to be done, in order."""

    def __init__(
        self,
        task: TaskID,
        rules: RoundRules,
        initial: Weights,
        noticeboard: Noticeboard,
    ) -> None:
        """Begin at round 0 with the initial model; `resume` goes on from a later one."""
        self._task = task
        self._rules = rules
        self._initial = initial
        self._noticeboard = noticeboard
        self._seats: dict[ParticipantID, _Seat] = {}
        self._contributors: dict[ParticipantID, str | None] = {}
        self._counted: dict[str, int] = {}  # key → the round that its contribution made
        self._trouble = ""
        self._first_at = math.inf
        self._retry_at = -math.inf
        self._closing = False
        self._closed_rounds = 0
        self._total_contributions = 0
        self.round = 0
        self.weights = initial

    def resume(
        self,
        round_: int,
        weights: Weights,
        closed_rounds: int,
        contributions: int,
        counted: Mapping[str, int] | None = None,
    ) -> None:
        """Go on from a stored round, with the totals over all rounds before it, and the keys of what counted."""
        self.round, self.weights = round_, weights
        self._counted = dict(counted or {})
        self._closed_rounds, self._total_contributions = closed_rounds, contributions

    @property
    def present(self) -> Sequence[ParticipantID]:
        """Who is present, in the order of joining."""
        return tuple(self._seats)

    @property
    def contributors(self) -> Sequence[ParticipantID]:
        """Who has contributed to the current round, in order, whether still present or not."""
        return tuple(self._contributors)

    @property
    def max_staleness(self) -> int:
        """How many rounds a contribution may be behind and still count."""
        return self._rules.max_staleness

    @property
    def deadline(self) -> float:
        """When to send `Ticked`, in seconds of the clock that `now` comes from; inf when nothing is due."""
        if self._closing or len(self._contributors) < self._rules.minimum:
            return math.inf
        if self._buffer_full() or self._everyone_contributed():
            return self._retry_at
        return max(self._first_at + self._rules.interval, self._retry_at)

    def handle(self, event: FederatedEvent, now: float) -> Sequence[Effect]:
        """Take one event in. Total: no event in any order raises.

        Args:
            event: what happened.
            now: seconds, never less than at the call before.
        """
        match event:
            case Joined():
                return self._join(event)
            case Left():
                return self._leave(event.participant, now)
            case Contributed():
                return self._judge(event)
            case Misdelivered():
                return self._refuse(event.participant, self.round, Outcome.REJECTED, event.reason)
            case FoldRefused():
                made = event.contribution
                return self._refuse(made.participant, made.round, Outcome.REJECTED, event.reason, made.key)
            case Folded():
                return self._count(event.contribution, now)
            case Aggregated():
                self._remember(event.round)
                return self._advance(event.round, event.weights, len(self._contributors))
            case Restored():
                return self._advance(event.round, event.weights, 0)
            case AggregationFailed():
                return self._keep_waiting(event.reason, now)
            case Ticked():
                return self._close_if_due(now)
            case ModelRequested():
                return (Send((event.participant,), self._model(pushed=False)),)
            case StatisticsRequested():
                return (Send((event.participant,), self._statistics()),)
            case MetadataPosted():
                return self._post(event)
            case MetadataRequested():
                return self._read(event)
            case _:
                assert_never(event)

    # ── joining and leaving ──────────────────────────────────────────────────────────────────────────────

    def _join(self, event: Joined) -> Sequence[Effect]:
        known = event.participant in self._seats
        others = self._others(event.participant)
        enough_before = len(others) >= self._rules.minimum
        waiting = len(others) + 1 < self._rules.minimum
        if known:
            self._seats[event.participant].waiting = waiting
            self._seats[event.participant].may_wait &= not waiting
        else:
            self._seats[event.participant] = _Seat(event.pushed, waiting, may_wait=not waiting)
        welcome = Welcome(event.participant, self.round, self.weights, waiting, len(self._seats))
        answer = Send((event.participant,), welcome)
        if known:
            return (answer,)
        return (answer, *self._announce(others, resumed=not waiting and not enough_before))

    def _leave(self, participant: ParticipantID, now: float) -> Sequence[Effect]:
        if self._seats.pop(participant, None) is None:
            return ()
        if not self._seats and self._rules.reset_when_empty:
            return self._reset()
        paused = len(self._seats) == self._rules.minimum - 1
        return (*self._announce(list(self._seats), paused=paused), *self._close_if_due(now))

    def _announce(
        self, to: Sequence[ParticipantID], *, resumed: bool = False, paused: bool = False
    ) -> Sequence[Effect]:
        """Tell each participant of a change in exactly one message."""
        count = len(self._seats)
        go_on, wait, update = [], [], []
        for participant in to:
            seat = self._seats[participant]
            if resumed and seat.waiting:
                seat.waiting = False
                go_on.append(participant)
            elif paused and seat.may_wait and not seat.waiting:
                seat.waiting, seat.may_wait = True, False
                wait.append(participant)
            else:
                update.append(participant)
        sends = (
            (go_on, Enough(count)),
            (wait, WaitingForMore(count)),
            (update, ParticipantsChanged(count)),
        )
        return tuple(Send(tuple(receivers), message) for receivers, message in sends if receivers)

    def _reset(self) -> Sequence[Effect]:
        self.round, self.weights = 0, self._initial
        self._closed_rounds = self._total_contributions = 0
        self._counted.clear()
        self._open_round()
        return (Reset(),)

    # ── contributions ────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, event: Contributed) -> Sequence[Effect]:
        def discard(reason: str) -> Sequence[Effect]:
            return self._refuse(event.participant, event.round, Outcome.DISCARDED, reason, event.key)

        if event.participant not in self._seats:
            return discard("its sender has not said that it is connected")
        if event.key is not None and event.key in self._counted:
            return self._recall(event)
        if event.round < max(self.round - self._rules.max_staleness, 0):
            return discard(f"round {event.round} is over, the current round is {self.round}")
        if event.round > self.round:
            return discard(f"round {event.round} has not begun, the current round is {self.round}")
        if event.participant in self._contributors:
            return self._repeat(event)
        try:
            event.update.require_structure(self.weights.shapes)
        except InvalidUpdate as error:
            return self._refuse(event.participant, event.round, Outcome.REJECTED, str(error), event.key)
        return (Fold(event),)

    def _repeat(self, event: Contributed) -> Sequence[Effect]:
        """Answer a second contribution to one round, which does not count.

        Who is pushed the model waits for this round's result and would take any model for it, so it gets none.
        """
        key = self._contributors[event.participant]
        if key is not None and key == event.key:
            verdict = Verdict(event.round, Outcome.ACCEPTED, "it had been counted already", event.key)
        else:
            verdict = Verdict(event.round, Outcome.DISCARDED, "only the first of a round counts", event.key)
        told: list[Effect] = [
            Record(
                event.participant, Outcome.DISCARDED, f"it has contributed to round {event.round} already"
            ),
            Send((event.participant,), verdict),
        ]
        if not self._seats[event.participant].pushed:
            told.append(Send((event.participant,), self._model(pushed=False)))
        return told

    def _recall(self, event: Contributed) -> Sequence[Effect]:
        """Answer a contribution that counted in a round that is over; its sender did not hear of it."""
        made = self._counted[event.key or ""]
        reason = f"it had been counted already, in round {made}"
        return (
            Record(event.participant, Outcome.DISCARDED, reason),
            Send((event.participant,), Verdict(event.round, Outcome.ACCEPTED, reason, event.key)),
            Send((event.participant,), self._model(pushed=False)),
        )

    def _refuse(
        self,
        participant: ParticipantID,
        round_: int,
        outcome: Outcome,
        reason: str,
        key: str | None = None,
    ) -> Sequence[Effect]:
        """Tell a sender why its contribution does not count, and give it what makes the next one count."""
        return (
            Record(participant, outcome, reason),
            Send((participant,), Verdict(round_, outcome, reason, key)),
            Send((participant,), self._model(pushed=False)),
        )

    def _count(self, made: Contributed, now: float) -> Sequence[Effect]:
        self._contributors[made.participant] = made.key
        self._first_at = min(self._first_at, now)
        if (seat := self._seats.get(made.participant)) is not None and not seat.waiting:
            seat.may_wait = True
        return (
            Record(made.participant, Outcome.ACCEPTED),
            Send((made.participant,), Verdict(made.round, Outcome.ACCEPTED, "", made.key)),
            *self._close_if_due(now),
        )

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────────

    def _buffer_full(self) -> bool:
        return self._rules.buffer is not None and len(self._contributors) >= self._rules.buffer

    def _everyone_contributed(self) -> bool:
        return len(self._seats) >= self._rules.minimum and self._seats.keys() <= self._contributors.keys()

    def _close_if_due(self, now: float) -> Sequence[Effect]:
        if now < self.deadline or self.deadline == math.inf:
            return ()
        self._closing = True
        figures = RoundFigures(
            number=self.round + 1,
            participants=len(self._seats),
            contributions=len(self._contributors),
            seconds=now - self._first_at,
        )
        return (Aggregate(figures, self._keys(), self._keys_since(figures.number)),)

    def _keys(self) -> tuple[str, ...]:
        return tuple(key for key in self._contributors.values() if key is not None)

    def _keys_since(self, round_: int) -> int:
        """Return the oldest round of which a contribution could still be sent again and taken for a new one."""
        return round_ - max(REMEMBERED_ROUNDS, self._rules.max_staleness) + 1

    def _keep_waiting(self, reason: str, now: float) -> Sequence[Effect]:
        """Keep the round open until it can be closed, and tell its contributors once."""
        self._closing = False
        self._retry_at = now + self._rules.retry
        known, self._trouble = self._trouble, reason
        if known:
            return ()
        why = f"it counts, but the round cannot be closed now and is tried again: {reason}"
        return tuple(
            Send((name,), Verdict(self.round, Outcome.ACCEPTED, why, key))
            for name, key in self._contributors.items()
            if name in self._seats
        )

    def _advance(self, round_: int, weights: Weights, contributions: int) -> Sequence[Effect]:
        receivers = tuple(name for name in self._contributors if name in self._seats)
        self._closed_rounds += 1
        self._total_contributions += contributions
        self.round, self.weights = round_, weights
        self._open_round()
        return (Send(receivers, self._model(pushed=True)),) if receivers else ()

    def _remember(self, round_: int) -> None:
        since = self._keys_since(round_)
        self._counted = {key: made for key, made in self._counted.items() if made >= since}
        self._counted.update(dict.fromkeys(self._keys(), round_))

    def _open_round(self) -> None:
        self._contributors.clear()
        self._trouble = ""
        self._first_at, self._retry_at, self._closing = math.inf, -math.inf, False

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────

    def _model(self, *, pushed: bool) -> GlobalModel:
        return GlobalModel(self.round, self.weights, len(self._seats), pushed)

    def _statistics(self) -> Statistics:
        average = self._total_contributions / self._closed_rounds if self._closed_rounds else 0.0
        return Statistics(self.round, len(self._seats), self._total_contributions, average)

    def _post(self, event: MetadataPosted) -> Sequence[Effect]:
        try:
            self._noticeboard.post(event.participant, event.round, event.name, event.value)
        except LimitExceeded as error:
            return (Record(event.participant, Outcome.DISCARDED, str(error)),)
        return ()

    def _read(self, event: MetadataRequested) -> Sequence[Effect]:
        entries = self._noticeboard.read(event.round, event.name)
        answer = Metadata(self._task, event.participant, event.round, event.name, entries)
        return (Send((event.participant,), answer),)

    def _others(self, participant: ParticipantID) -> list[ParticipantID]:
        return [name for name in self._seats if name != participant]
