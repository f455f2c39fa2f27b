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
that is present. `Aggregated`, `Restored` and `Ended` may say that the training has ended: the model stays and is
given to whoever comes, and nothing counts any more, until an operator makes an earlier model current. The session
never waits, reads no clock and knows no dialect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import assert_never

from disco.core.effects import Aggregate, Effect, Fold, Reset, RoundFigures, Send
from disco.core.events import (
    Aggregated,
    AggregationFailed,
    Contributed,
    Ended,
    FederatedEvent,
    Folded,
    FoldRefused,
    Joined,
    Left,
    MetadataPosted,
    MetadataRequested,
    Misdelivered,
    ModelRequested,
    Restored,
    StatisticsRequested,
    Ticked,
)
from disco.core.federated import answers
from disco.core.federated.contributions import Contributions
from disco.core.federated.rules import RoundClock, RoundRules, Totals
from disco.core.federated.seats import Seats
from disco.core.messages import GlobalModel, Outcome, Statistics, TrainingEnded, Welcome
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate


class FederatedSession:
    """One task's federated training: `handle` takes an event and returns what is to be done, in order.

    Args:
        task: whose it is.
        rules: when its rounds close.
        initial: the model of round 0; `resume` goes on from a later one.
        noticeboard: for what participants leave for each other (v2).
    """

    def __init__(self, task: TaskID, rules: RoundRules, initial: Weights, noticeboard: Noticeboard) -> None:
        self._task = task
        self._rules = rules
        self._initial = initial
        self._noticeboard = noticeboard
        self._seats = Seats(rules.minimum)
        self._contributions = Contributions(rules.max_staleness)
        self._trouble = ""
        self._clock = RoundClock(rules)
        self._totals = Totals()
        self.round = 0
        self.weights = initial
        self.ended = ""  # a sentence that says why, once the training has ended

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
        self._contributions.recall(counted or {})
        self._totals = Totals(closed_rounds, contributions)

    @property
    def present(self) -> Sequence[ParticipantID]:
        """Who is present, in the order of joining."""
        return tuple(self._seats)

    @property
    def contributors(self) -> Sequence[ParticipantID]:
        """Who has contributed to the current round, in order, whether still present or not."""
        return tuple(self._contributions)

    @property
    def max_staleness(self) -> int:
        """How many rounds a contribution may be behind and still count."""
        return self._rules.max_staleness

    @property
    def deadline(self) -> float:
        """When to send `Ticked`, in seconds of the clock that `now` comes from; inf when nothing is due."""
        return min(self._round_deadline(), self._seats.deadline)

    def _round_deadline(self) -> float:
        if self.ended or not self._contributions:
            return math.inf
        enough = len(self._seats) >= self._rules.minimum
        everyone = enough and self._seats.names() <= self._contributions.names()
        return self._clock.deadline(len(self._contributions), everyone=everyone)

    def handle(self, event: FederatedEvent, now: float) -> Sequence[Effect]:
        """Take one event in. Total: no event in any order raises.

        Args:
            event: what happened.
            now: seconds, never less than at the call before.
        """
        match event:
            case Joined():
                return self._join(event, now)
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
            case Aggregated() | Restored():
                return self._advance(event)
            case AggregationFailed():
                return self._keep_waiting(event.reason, now)
            case Ended():
                return self._end(event.reason)
            case Ticked():
                return (*self._seats.catch_up(now), *self._close_if_due(now))
            case ModelRequested():
                return (Send((event.participant,), self._model(pushed=False)),)
            case StatisticsRequested():
                return (Send((event.participant,), self._statistics()),)
            case MetadataPosted():
                return answers.post(self._noticeboard, event)
            case MetadataRequested():
                return answers.read(self._noticeboard, self._task, event)
            case _:
                assert_never(event)

    # ── joining and leaving ──────────────────────────────────────────────────────────────────────────────

    def _join(self, event: Joined, now: float) -> Sequence[Effect]:
        waiting, told = self._seats.take(event, now)
        welcome = Welcome(event.participant, self.round, self.weights, waiting, len(self._seats), self.ended)
        return (Send((event.participant,), welcome), *told)

    def _leave(self, participant: ParticipantID, now: float) -> Sequence[Effect]:
        told = self._seats.leave(participant, now)
        if told is None:
            return ()
        # A training that has ended keeps its model: who took part in it leaves.
        if not self._seats and self._rules.reset_when_empty and not self.ended:
            return self._reset()
        return (*told, *self._close_if_due(now))

    def _reset(self) -> Sequence[Effect]:
        self.round, self.weights = 0, self._initial
        self._totals = Totals()
        self._contributions.recall({})
        self._open_round()
        return (Reset(),)

    # ── contributions ────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, event: Contributed) -> Sequence[Effect]:
        def discard(reason: str) -> Sequence[Effect]:
            return self._refuse(event.participant, event.round, Outcome.DISCARDED, reason, event.key)

        if event.participant not in self._seats:
            return discard("its sender has not said that it is connected")
        if (made := self._contributions.round_of(event.key)) is not None:
            return (*answers.recalled(event, made), *self._answer_with_model(event.participant))
        if self.ended:
            return discard(f"the training has ended: {self.ended}")
        if event.round < max(self.round - self._rules.max_staleness, 0):
            return discard(f"round {event.round} is over, the current round is {self.round}")
        if event.round > self.round:
            return discard(f"round {event.round} has not begun, the current round is {self.round}")
        if event.participant in self._contributions:
            return self._repeat(event)
        try:
            event.update.require_structure(self.weights.shapes)
        except InvalidUpdate as error:
            return self._refuse(event.participant, event.round, Outcome.REJECTED, str(error), event.key)
        return (Fold(event),)

    def _repeat(self, event: Contributed) -> Sequence[Effect]:
        """Answer a second contribution to one round.

        Who is pushed the model waits for this round's result and would take any model for it, so it gets none.
        """
        told = answers.repeated(event, self._contributions.key_of(event.participant))
        if self._seats.is_pushed(event.participant):
            return told
        return (*told, *self._answer_with_model(event.participant))

    def _refuse(
        self, participant: ParticipantID, round_: int, outcome: Outcome, reason: str, key: str | None = None
    ) -> Sequence[Effect]:
        """Tell a sender why its contribution does not count, and give it what makes the next one count."""
        told = answers.refused(participant, round_, outcome, reason, key)
        return (*told, *self._answer_with_model(participant))

    def _count(self, made: Contributed, now: float) -> Sequence[Effect]:
        self._contributions.add(made.participant, made.key)
        self._clock.contributed(now)
        self._seats.contributed(made.participant)
        return (*answers.accepted(made), *self._close_if_due(now))

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────────

    def _close_if_due(self, now: float) -> Sequence[Effect]:
        if now < self._round_deadline():
            return ()
        seconds = self._clock.close(now)
        figures = RoundFigures(self.round + 1, len(self._seats), len(self._contributions), seconds)
        return (Aggregate(figures, self._contributions.keys, self._contributions.since(figures.number)),)

    def _keep_waiting(self, reason: str, now: float) -> Sequence[Effect]:
        """Keep the round open until it can be closed, and tell its contributors once."""
        self._clock.retry(now)
        known, self._trouble = self._trouble, reason
        return () if known else answers.delayed(self._contributions, self._seats.names(), self.round, reason)

    def _advance(self, event: Aggregated | Restored) -> Sequence[Effect]:
        """Begin the next round, and push its model to those who wait for it."""
        counted = isinstance(event, Aggregated)
        self._totals = self._totals.after(len(self._contributions) if counted else 0)
        if counted:
            self._contributions.close(event.round)
        self.round, self.weights = event.round, event.weights
        return self._turn(event.ended)

    def _end(self, reason: str) -> Sequence[Effect]:
        """End the training between two rounds: what was contributed to the open one does not count."""
        why = f"the training has ended: {reason}"
        lost = answers.dropped(self._contributions, self._seats.names(), self.round, why)
        return (*lost, *self._turn(reason))

    def _turn(self, ended: str) -> Sequence[Effect]:
        """Open another round; tell everybody whether the training has ended, if that is new, and push the model."""
        receivers = tuple(name for name in self._contributions if name in self._seats)
        before, self.ended = self.ended, ended
        self._open_round()
        told: list[Effect] = []
        if ended != before and self._seats:
            told.append(Send(tuple(self._seats), TrainingEnded(self.round, ended)))
        if receivers:
            told.append(Send(receivers, self._model(pushed=True)))
        return told

    def _open_round(self) -> None:
        self._contributions.drop()
        self._trouble = ""
        self._clock.restart()

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────

    def _model(self, *, pushed: bool) -> GlobalModel:
        return GlobalModel(self.round, self.weights, len(self._seats), pushed)

    def _answer_with_model(self, participant: ParticipantID) -> Sequence[Effect]:
        """Give a participant the current model, and say so if it is the last one."""
        model = Send((participant,), self._model(pushed=False))
        if not self.ended:
            return (model,)
        return (Send((participant,), TrainingEnded(self.round, self.ended)), model)

    def _statistics(self) -> Statistics:
        return Statistics(self.round, len(self._seats), self._totals.contributions, self._totals.average)
