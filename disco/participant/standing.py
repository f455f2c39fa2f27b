"""What a participant knows and waits for: the client's half of a federated session, without I/O.

    exchange ──▶ Outstanding ──┬─ a model of another round ──────────▶ Adopted: the exchange is over
                               ├─ Verdict: rejected ─────────────────▶ Refused, with the server's reason
                               ├─ Verdict: discarded (late, early) ──▶ the current model follows: Adopted
                               ├─ TrainingEnded ─────────────────────▶ the last model: Adopted
                               └─ the connection is lost ────────────▶ sent again, as the same contribution;
                                                                       in v3, which cannot say so: ConnectionLost

What ends an exchange is that the current round is no longer the one it was made for, however that becomes
known: pushed, asked for, in the welcome after a reconnection, or as the answer to a late contribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from disco.core.events import Event, ModelRequested, StatisticsRequested
from disco.core.messages import (
    Enough,
    GlobalModel,
    Message,
    Outcome,
    ParticipantsChanged,
    Statistics,
    TrainingEnded,
    Verdict,
    WaitingForMore,
    Welcome,
)
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import ConnectionLost, DiscoError, Refused
from disco.wire import masked, v2, v3, v4
from disco.wire.dialect import Dialect, Form, WeightsForm


@dataclass(frozen=True, slots=True)
class Habits:
    """How a participant uses a dialect.

    Args:
        form: how it writes, and what it asks for.
        returns: whether it can come back as the participant that it was, so that a contribution sent again counts
            once.
    """

    dialect: Dialect
    form: Form
    returns: bool


#: By dialect. v4 claims its ID and gives each contribution a key, v2 has its ID in the path, v3 neither.
HABITS: Mapping[str, Habits] = {
    "v2": Habits(v2, v2.FORM, returns=True),
    "v3": Habits(v3, v3.FORM, returns=False),
    "v4": Habits(v4, Form(WeightsForm.PACKED, verdicts=True), returns=True),
}


#: For tasks that mask contributions, whatever the dialect of others: each contribution is of one attempt at a round.
MASKED = Habits(masked, masked.FORM, returns=True)


class NewsKind(StrEnum):
    """What there is to tell while an exchange waits."""

    WAITING = "waiting"
    RESUMED = "resumed"
    PARTICIPANTS = "participants"
    RECONNECTING = "reconnecting"
    RECONNECTED = "reconnected"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class News:
    """Something happened that is no result.

    Args:
        kind: *waiting*: too few participants for a round. *resumed*: enough again. *participants*: somebody came or
            left. *reconnecting*, *reconnected*: about the connection. *remark*: what the server has to say of a
            contribution that counts, such as that its round cannot be stored now and is tried again.
        participants: present now, as far as is known.
        reason: why, for *reconnecting*; the server's words, for *remark*.
    """

    kind: NewsKind
    participants: int
    reason: str = ""


@dataclass(slots=True, eq=False)
class Outstanding:
    """A contribution whose round has not been seen to close.

    Args:
        round: the round it is made for.
        key: tells it from every other contribution.
        message: as it goes over the wire.
        sent: it may have reached the server.
        accepted: the server said that it counts.
        discarded: why the server said that it does not count, if it did.
        outcome: the global model that ended it, or why there is none.
    """

    round: int
    key: str
    message: bytes
    sent: bool = False
    accepted: bool = False
    discarded: str = ""
    outcome: Weights | DiscoError | None = None


class Standing:
    """Where a participant stands in its task."""

    def __init__(self, habits: Habits) -> None:
        """Know nothing yet."""
        self.habits = habits
        self.identity: ParticipantID | None = None
        self.round = 0
        self.weights = Weights((), ())
        self.participants = 0
        self.waiting = False
        self.behind = False
        self.lacks_model = True
        self.forgotten = False
        self.outstanding: Outstanding | None = None
        self._end = (0, "")

    @property
    def me(self) -> ParticipantID:
        """Who sends what this participant says; empty before it has an ID, which the server does not mind."""
        return self.identity or ParticipantID("")

    @property
    def ended(self) -> str:
        """Why the training has ended with the model that is known here; empty while it goes on."""
        round_, reason = self._end
        return reason if round_ == self.round else ""

    # ── contributing ─────────────────────────────────────────────────────────────────────────────────────

    def put_out(self, made: Outstanding) -> None:
        """Begin to wait for the end of a contribution's round."""
        self.outstanding = made
        self.behind = False
        if made.round != self.round:
            made.outcome = self.weights

    def withdraw(self) -> None:
        """Stop waiting. What was sent may count all the same."""
        self.outstanding = None

    @property
    def unresolved(self) -> Outstanding | None:
        """The contribution that waits, if one does."""
        made = self.outstanding
        return made if made is not None and made.outcome is None else None

    def lose(self, blamed: Refused | None) -> None:
        """Learn that the connection is gone.

        Args:
            blamed: the reason, if the server closed it because of what we sent.
        """
        self.forgotten = False
        made = self.unresolved
        if made is None or not made.sent:
            return
        made.discarded = ""
        if blamed is not None:
            made.outcome = blamed
        elif not self.habits.returns:
            name = self.habits.dialect.NAME
            made.outcome = ConnectionLost(
                f"the connection was lost while a contribution was on its way, and {name} cannot tell whether it counts"
            )

    def question(self) -> Event | None:
        """Return what to ask, to learn whether a round has closed; None if the server tells by itself."""
        if self.habits.dialect.PUSHES:
            return None
        return ModelRequested(self.me) if self.behind else StatisticsRequested(self.me)

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────

    def take(self, message: Message) -> Sequence[News]:
        """Learn from one message of the server, and return what is worth telling."""
        match message:
            case Welcome():
                return self._enter(message)
            case GlobalModel():
                return self._receive(message)
            case Verdict():
                return self._judge(message)
            case TrainingEnded(round_, reason):
                self.end(round_, reason)
            case WaitingForMore(count):
                self.waiting = True
                self._count(count)
                return (self._news(NewsKind.WAITING),)
            case Enough(count):
                self.waiting = False
                self._count(count)
                return (self._news(NewsKind.RESUMED),)
            case ParticipantsChanged(count):
                return self._count(count)
            case Statistics():
                made = self.unresolved
                self.behind = made is not None and message.round != made.round
                return self._count(message.present)
        return ()

    def adopt(self, round_: int, weights: Weights) -> None:
        """Take a global model for the current one, be its round later or, after a reset, earlier."""
        self.round, self.weights, self.lacks_model = round_, weights, False
        made = self.unresolved
        if made is not None and made.round != round_:
            made.outcome = weights

    def end(self, round_: int, reason: str) -> None:
        """Learn that the training has ended with a round's model; without a reason, that it goes on again."""
        self._end = (round_, reason)
        made = self.unresolved
        if self.ended and made is not None and made.round == round_:
            made.discarded = f"the training has ended: {reason}"
            made.outcome = self.weights

    def learn(self, document: Mapping[str, Any]) -> None:
        """Learn from a task's JSON whether the training has ended, for which not every dialect has a word."""
        match document.get("state"):
            case {"state": "ended", "round": int() as round_, "reason": str() as reason}:
                self.end(round_, reason)

    def _enter(self, welcome: Welcome) -> Sequence[News]:
        """Learn from the answer to hello. v2's says nothing, v4's has no model at round 0."""
        if not self.habits.dialect.PUSHES:
            return ()
        was_waiting, self.waiting = self.waiting, welcome.waiting
        self.identity = welcome.participant
        self._end = (welcome.round, welcome.ended)
        if welcome.weights.shapes:
            self.adopt(welcome.round, welcome.weights)
        elif welcome.round != self.round:
            self.lacks_model = True
        news = self._count(welcome.participants)
        if was_waiting != welcome.waiting:
            return (self._news(NewsKind.WAITING if welcome.waiting else NewsKind.RESUMED),)
        return news

    def _receive(self, model: GlobalModel) -> Sequence[News]:
        made = self.unresolved
        if not model.weights.shapes:
            self.lacks_model = True
        elif made is None or made.round != model.round:
            self.adopt(model.round, model.weights)
        elif self.habits.dialect.PUSHES and not self.habits.form.verdicts:
            # To a waiting v3 participant, the model of the round that it contributed to means a refusal.
            made.outcome = Refused(f"the server did not take the contribution to round {made.round}")
        elif made.discarded:
            # Neither late nor early, and a repeated one gets no model: the server does not know its sender.
            self.forgotten = True
        return self._count(model.participants)

    def _judge(self, verdict: Verdict) -> Sequence[News]:
        """Learn what became of the contribution. Without a key, the verdict is on the last one that was sent."""
        made = self.unresolved
        if made is None or verdict.key not in (None, made.key):
            return ()
        match verdict.outcome:
            case Outcome.ACCEPTED:
                made.accepted = True
                if verdict.reason:
                    return (News(NewsKind.REMARK, self.participants, verdict.reason),)
            case Outcome.DISCARDED:
                made.discarded = verdict.reason
            case Outcome.REJECTED:
                made.outcome = Refused(verdict.reason)
        return ()

    def _count(self, participants: int) -> Sequence[News]:
        """Remember how many are present; dialects without a word for it say 0."""
        if participants in (0, self.participants):
            return ()
        self.participants = participants
        return (self._news(NewsKind.PARTICIPANTS),)

    def _news(self, kind: NewsKind) -> News:
        return News(kind, self.participants)
