"""The server's half of masked training: who takes part, when a round begins, and what became of it.

    gathering ── everybody present has advertised keys and they are enough, or the interval has passed ──▶ Attempt
        ▲           sharing ─▶ masking ─▶ revealing ─▶ Unmask ─▶ Fold ─▶ Aggregate ─▶ the next round
        │              │
        └──────────────┴─ fewer than the threshold are left, or shares do not fit ─▶ RoundAbandoned to everybody who
                          waits, who advertise new keys: the round is tried again with who is present

Whoever leaves before its masked contribution came has dropped out; what it delivered before leaving counts. Whoever
comes while a round is under way waits for its result. The session never waits and reads no clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeAlias

from disco.core.effects import Aggregate, Effect, Fold, Reset, RoundFigures, Send
from disco.core.events import (
    Aggregated,
    AggregationFailed,
    Contributed,
    Ended,
    Folded,
    FoldRefused,
    Joined,
    Left,
    Misdelivered,
    Restored,
    Ticked,
)
from disco.core.federated.answers import refused
from disco.core.federated.seats import Seats
from disco.core.masking.attempt import Attempt, Failed, Phase, Sent, verdict
from disco.core.masking.gathering import Gathering
from disco.core.masking.rules import MaskedRules
from disco.core.masking.words import (
    Abandon,
    KeysAdvertised,
    MaskedContributed,
    MaskedFolded,
    RoundAbandoned,
    SharesRevealed,
    SharesSent,
    Unmasked,
    UnmaskingFailed,
)
from disco.core.messages import GlobalModel, Outcome, TrainingEnded, Welcome
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights

_FromRuntime: TypeAlias = (
    MaskedFolded | Unmasked | UnmaskingFailed | Folded | FoldRefused | Aggregated | AggregationFailed
)
#: What a masked session understands.
MaskedSessionEvent: TypeAlias = (
    Joined | Left | KeysAdvertised | Sent | Misdelivered | _FromRuntime | Restored | Ended | Ticked
)


class MaskedSession:
    """One task's masked training: `handle` takes an event and returns what is to be done, in order.

    Args:
        task: whose it is.
        rules: when its rounds go on.
        initial: the model of round 0; `resume` goes on from a later one.
    """

    max_staleness = 0  # a sum is of one round

    def __init__(self, task: TaskID, rules: MaskedRules, initial: Weights) -> None:
        self._task = task
        self._rules = rules
        self._initial = initial
        self._seats = Seats(rules.minimum)
        self._gathering = Gathering(rules.minimum, rules.interval)
        self._attempt: Attempt | None = None
        self._attempts = 0
        self._delayed = False
        self.round = 0
        self.weights = initial
        self.ended = ""  # a sentence that says why, once the training has ended

    def resume(self, round_: int, weights: Weights) -> None:
        """Go on from a stored round."""
        self.round, self.weights = round_, weights

    @property
    def present(self) -> Sequence[ParticipantID]:
        """Who is present, in the order of joining."""
        return tuple(self._seats)

    @property
    def contributors(self) -> Sequence[ParticipantID]:
        """Whose masked contributions are in the sum under way, in order, whether still present or not."""
        return tuple(self._attempt.delivered) if self._attempt is not None else ()

    @property
    def deadline(self) -> float:
        """When to send `Ticked`, in seconds of the clock that `now` comes from; inf when nothing is due."""
        return min(self._round_deadline(), self._seats.deadline)

    def _round_deadline(self) -> float:
        if self._attempt is not None:
            return self._attempt.deadline
        return math.inf if self.ended else self._gathering.due_at(self._seats.names())

    def handle(self, event: MaskedSessionEvent, now: float) -> Sequence[Effect]:
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
            case KeysAdvertised():
                return self._gather(event, now)
            case SharesSent() | MaskedContributed() | SharesRevealed():
                return self._judge(event, now)
            case Misdelivered():
                return self._refuse(event.participant, Outcome.REJECTED, event.reason)
            case Ticked():
                return (*self._seats.catch_up(now), *self._go_on(now))
            case Restored() | Ended():
                return self._interrupt(event)
            case _:
                # Effects are of an attempt, and answered before anything else happens.
                return self._answered(event, self._attempt, now) if self._attempt is not None else ()

    # ── joining and leaving ──────────────────────────────────────────────────────────────────────────────

    def _join(self, event: Joined, now: float) -> Sequence[Effect]:
        self._lose(event.participant)  # its other connection, if it has one, is of no use any more
        waiting, told = self._seats.take(event, now)
        welcome = Welcome(event.participant, self.round, self.weights, waiting, len(self._seats), self.ended)
        return (Send((event.participant,), welcome), *told, *self._go_on(now))

    def _leave(self, participant: ParticipantID, now: float) -> Sequence[Effect]:
        told = self._seats.leave(participant, now)
        if told is None:
            return ()
        self._lose(participant)
        if not self._seats and self._rules.reset_when_empty and not self.ended:
            lost = self._forget("its last participant left")
            self.round, self.weights = 0, self._initial
            return (*lost, Reset())
        return (*told, *self._go_on(now))

    def _lose(self, participant: ParticipantID) -> None:
        """Count no more on what somebody was to do in this round."""
        if self._attempt is not None:
            self._attempt.lose(participant)
        self._gathering.lose(participant)

    # ── what members send ────────────────────────────────────────────────────────────────────────────────

    def _gather(self, event: KeysAdvertised, now: float) -> Sequence[Effect]:
        name = event.participant
        if name not in self._seats:
            return self._refuse(name, Outcome.DISCARDED, "its sender has not said that it is connected")
        if self.ended:
            told = self._refuse(name, Outcome.DISCARDED, f"the training has ended: {self.ended}")
            return (*told, self._ending((name,)), self._model_for((name,), pushed=False))
        if (refusal := self._gathering.refusal(event, self.round)) is not None:
            return (*self._refuse(name, *refusal), self._model_for((name,), pushed=False))
        if self._attempt is None and not self._gathering.is_full:
            self._gathering.add(name, event.keys, now)
            return self._go_on(now)
        self._gathering.wait(name)
        if name in self.contributors:  # it came back, and what it delivered before counts
            return ()
        why = f"round {self.round} is under way with other members; its result follows"
        return self._refuse(name, Outcome.DISCARDED, why)

    def _judge(self, event: Sent, now: float) -> Sequence[Effect]:
        attempt = self._attempt
        if attempt is None or event.attempt != attempt.number or attempt.phase is Phase.CLOSING:
            if isinstance(event, SharesRevealed) and event.attempt <= self._attempts:
                return ()  # fewer were enough
            why = f"attempt {event.attempt} is not under way"
            return self._refuse(event.participant, Outcome.DISCARDED, why)
        if (refusal := attempt.refusal(event)) is not None:
            return self._refuse(event.participant, *refusal)
        return attempt.take(event) or self._go_on(now)

    def _refuse(self, participant: ParticipantID, outcome: Outcome, reason: str) -> Sequence[Effect]:
        return refused(participant, self.round, outcome, reason, None)

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self, now: float) -> Sequence[Effect]:
        """Begin an attempt, or its next phase, if that is due."""
        over = now >= self._round_deadline()
        if (attempt := self._attempt) is None:
            return self._begin(now) if over else ()
        if attempt.phase is Phase.CLOSING:
            # It could not be stored. Nobody is asked twice: this sum is all that is learned of the round.
            return (self._aggregate(attempt, now),) if over else ()
        try:
            return attempt.go_on(now, over=over)
        except Failed as failure:
            return self._abandon(str(failure), failure.culprits)

    def _begin(self, now: float) -> Sequence[Effect]:
        """Make an attempt with those who have advertised."""
        self._attempts += 1
        members, terms = self._gathering.take(), self._rules.terms
        self._attempt = Attempt(self._task, self.round, self._attempts, members, terms, self.weights)
        return self._attempt.begin(now)

    def _answered(self, event: _FromRuntime, attempt: Attempt, now: float) -> Sequence[Effect]:
        """Go on after an effect."""
        match event:
            case MaskedFolded(made):
                attempt.delivered[made.participant] = None
                return self._go_on(now)
            case Unmasked(moved):
                # To the strategy, the mean is one contribution.
                return (Fold(Contributed(ParticipantID("the sum"), self.round, moved)),)
            case Folded():
                return (self._aggregate(attempt, now),)
            case UnmaskingFailed() | FoldRefused():
                return self._abandon(event.reason)
            case AggregationFailed():
                return self._delay(event.reason, attempt, now)
            case Aggregated():
                return self._advance(event, attempt)

    def _aggregate(self, attempt: Attempt, now: float) -> Aggregate:
        contributions, seconds = len(attempt.delivered), now - self._gathering.first_at
        return Aggregate(RoundFigures(self.round + 1, len(self._seats), contributions, seconds))

    # ── ends ─────────────────────────────────────────────────────────────────────────────────────────────

    def _delay(self, reason: str, attempt: Attempt, now: float) -> Sequence[Effect]:
        """Keep the sum until it can be stored, and tell its contributors once."""
        attempt.deadline = now + self._rules.retry
        known, self._delayed = self._delayed, True
        why = f"it counts, but the round cannot be closed now and is tried again: {reason}"
        return () if known else verdict(attempt.delivered, self._seats, self.round, Outcome.ACCEPTED, why)

    def _abandon(self, reason: str, without: Collection[ParticipantID] = ()) -> Sequence[Effect]:
        """Give an attempt up; whoever waits is told to begin again with new keys."""
        told = Send(self._gathering.waiting, RoundAbandoned(self.round, f"the round begins again: {reason}"))
        self._attempt = None
        self._gathering.begin_again(without)
        return (Abandon(self.round, reason), told)

    def _forget(self, reason: str = "") -> Sequence[Effect]:
        """Open the round anew, with nobody in it."""
        attempt, self._attempt = self._attempt, None
        self._gathering.clear()
        self._delayed = False
        return (Abandon(self.round, reason),) if attempt is not None and reason else ()

    def _advance(self, event: Aggregated, attempt: Attempt) -> Sequence[Effect]:
        """Begin the next round: verdicts to the members, and the model to everybody who waits for it."""
        waiting = self._gathering.waiting
        self._forget()
        return (*attempt.verdicts(self._seats), *self._turn(event, waiting))

    def _interrupt(self, event: Restored | Ended) -> Sequence[Effect]:
        """Another model is current, or none will follow: what was contributed to the open round does not count."""
        why = "an operator made another model the current one"
        if isinstance(event, Ended):
            why = f"the training has ended: {event.reason}"
            event = Restored(self.round, self.weights, event.reason)
        waiting = self._gathering.waiting
        lost = verdict(waiting, self._seats, self.round, Outcome.DISCARDED, why)
        return (*self._forget(why), *lost, *self._turn(event, waiting))

    def _turn(self, event: Aggregated | Restored, receivers: tuple[ParticipantID, ...]) -> Sequence[Effect]:
        """Make a model the current one, and tell whom it concerns."""
        self.round, self.weights = event.round, event.weights
        before, self.ended = self.ended, event.ended
        told = (self._ending(tuple(self._seats)),) if before != self.ended else ()
        return (*told, self._model_for(receivers, pushed=True)) if receivers else told

    def _ending(self, receivers: tuple[ParticipantID, ...]) -> Send:
        return Send(receivers, TrainingEnded(self.round, self.ended))

    def _model_for(self, receivers: tuple[ParticipantID, ...], *, pushed: bool) -> Send:
        return Send(receivers, GlobalModel(self.round, self.weights, len(self._seats), pushed))
