"""One attempt at a masked round, as the server keeps it: who is in it, how far it is, and what came.

    sharing   ── every member that is present has shared, or the time is over ──▶ SharesRelayed
    masking   ── likewise with masked contributions ──▶ Survivors
    revealing ── enough shares of every secret came ──▶ Unmask
    closing   ── the runtime unmasks, aggregates and stores

Fewer than the threshold at any step, and the attempt has failed.

Members know each other by their places, from 1: whoever knew a participant's ID could say that it is that participant.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec.structs import replace

from disco.core.effects import Effect, Record, Send
from disco.core.masking.keys import transcript
from disco.core.masking.terms import Terms
from disco.core.masking.words import (
    BeginSum,
    FoldMasked,
    Keys,
    MaskedContributed,
    Roster,
    SharesRelayed,
    SharesRevealed,
    SharesSent,
    Survivors,
    Unmask,
)
from disco.core.messages import Outcome, Verdict
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights


class Phase(StrEnum):
    """How far an attempt is: what the server waits for."""

    SHARING = "sharing"
    MASKING = "masking"
    REVEALING = "revealing"
    CLOSING = "closing"


#: What a member sends, in a phase each.
Sent: TypeAlias = SharesSent | MaskedContributed | SharesRevealed
_PHASES: Mapping[type[Sent], Phase] = {
    SharesSent: Phase.SHARING,
    MaskedContributed: Phase.MASKING,
    SharesRevealed: Phase.REVEALING,
}


def verdict(
    names: Collection[ParticipantID],
    present: Container[ParticipantID],
    round_: int,
    outcome: Outcome,
    reason: str,
) -> Sequence[Effect]:
    """Tell those of `names` who are present what became of their contributions."""
    here = tuple(name for name in names if name in present)
    return (Send(here, Verdict(round_, outcome, reason)),) if here else ()


class Failed(Exception):
    """Too few are left; the message is a sentence.

    Args:
        culprits: members whose shares most of the others could not open.
    """

    def __init__(self, message: str, culprits: Collection[ParticipantID] = ()) -> None:
        super().__init__(message)
        self.culprits = culprits


class Attempt:
    """One attempt, from its roster to its unmasking.

    Args:
        task: whose round it is.
        round_: the current round.
        number: tells it from every other attempt of this session.
        members: the keys of everybody who is in it; their order is that of their indices.
        terms: the task's.
        base: the current global model.
    """

    def __init__(
        self,
        task: TaskID,
        round_: int,
        number: int,
        members: Mapping[ParticipantID, Keys],
        terms: Terms,
        base: Weights,
    ) -> None:
        self.number = number
        self.members = members
        self.threshold = terms.threshold(len(members))
        self.phase = Phase.SHARING
        self.deadline = math.inf
        self.delivered: dict[ParticipantID, None] = {}
        self._task = task
        self._round = round_
        self._terms = terms
        self._base = base
        self._places = {name: ParticipantID(str(place)) for place, name in enumerate(members, 1)}
        self._names = {place: name for name, place in self._places.items()}
        self._gone: set[ParticipantID] = set()
        self._shares: dict[ParticipantID, Mapping[ParticipantID, bytes]] = {}
        self._sharers: tuple[ParticipantID, ...] = ()
        self._revealed: dict[ParticipantID, SharesRevealed] = {}

    def begin(self, now: float) -> Sequence[Effect]:
        """Tell the members of each other."""
        self._enter(Phase.SHARING, now)
        return (Send(tuple(self.members), Roster(self._round, self.number, self._roster())),)

    def _roster(self) -> dict[ParticipantID, Keys]:
        return {self._places[name]: keys for name, keys in self.members.items()}

    def lose(self, participant: ParticipantID) -> None:
        """Wait no more for somebody, also if it comes back: its secrets are gone. What it delivered counts."""
        self._gone.add(participant)

    def verdicts(self, present: Container[ParticipantID]) -> Sequence[Effect]:
        """Say what became of every member's contribution, once the sum of those who delivered is the model."""
        late = [name for name in self.members if name not in self.delivered]
        why = "it dropped out of the round, which went on without it"
        return (
            *(Record(name, Outcome.ACCEPTED) for name in self.delivered),
            *verdict(self.delivered, present, self._round, Outcome.ACCEPTED, ""),
            *(Record(name, Outcome.DISCARDED, why) for name in late),
            *verdict(late, present, self._round, Outcome.DISCARDED, why),
        )

    # ── what members send ────────────────────────────────────────────────────────────────────────────────

    def refusal(self, event: Sent) -> tuple[Outcome, str] | None:
        """Say why what a member sends does not count; None if it does."""
        if self.phase is not _PHASES[type(event)] or event.participant not in self._awaited():
            why = f"nothing of this kind is due from it: attempt {self.number} is {self.phase}"
            return Outcome.DISCARDED, why
        wrong = self._wrong_with(event)
        return (Outcome.REJECTED, wrong) if wrong else None

    def _wrong_with(self, event: Sent) -> str:
        match event:
            case SharesSent():
                right = event.shares.keys() == self._names.keys() - {self._places[event.participant]}
                wanted = f"shares must be for each of the {len(self.members) - 1} other members"
            case SharesRevealed():
                delivered = {self._places[name] for name in self.delivered}
                dropped = {self._places[name] for name in self._sharers} - delivered
                right = event.seeds.keys() <= delivered and event.mask_keys.keys() <= dropped
                wanted = "seeds must be of members who delivered, and maskKeys of members who dropped out"
            case MaskedContributed():
                right = event.masked.size == self._base.parameters
                found = f"masked has {event.masked.size} integers"
                wanted = f"{found} where the model has {self._base.parameters} parameters"
        return "" if right else wanted

    def take(self, event: Sent) -> Sequence[Effect]:
        """Take in what was not refused."""
        match event:
            case SharesSent():
                self._shares[event.participant] = self._by_name(event.shares)
            case SharesRevealed():
                seeds, mask_keys = self._by_name(event.seeds), self._by_name(event.mask_keys)
                self._revealed[event.participant] = replace(event, seeds=seeds, mask_keys=mask_keys)
            case MaskedContributed():
                return (FoldMasked(event),)
        return ()

    def _by_name(self, shares: Mapping[ParticipantID, bytes]) -> dict[ParticipantID, bytes]:
        return {self._names[place]: share for place, share in shares.items()}

    # ── phases ───────────────────────────────────────────────────────────────────────────────────────────

    def go_on(self, now: float, *, over: bool) -> Sequence[Effect]:
        """Enter the next phase if nobody is waited for, or this one's time is over.

        Raises:
            Failed: too few are left.
        """
        if self.phase is Phase.CLOSING:
            return ()
        if self.phase is Phase.REVEALING and self._is_open():
            self._enter(Phase.CLOSING, math.inf)
            return (self._plan(),)
        if not over and next(self._awaited(), None) is not None:
            return ()
        match self.phase:
            case Phase.SHARING:
                return self._relay(now)
            case Phase.MASKING:
                return self._report(now)
            case _:
                if culprits := self._culprits():
                    places = ", ".join(self._places[name] for name in culprits)
                    raise Failed(f"the others could not open the shares of member {places}", culprits)
                raise self._failed(len(self._revealed), "revealed the shares they hold")

    def _awaited(self) -> Iterator[ParticipantID]:
        """Return who has not done yet what this phase waits for, and still can."""
        asked, done = {
            Phase.SHARING: (self.members.keys(), self._shares.keys()),
            Phase.MASKING: (dict.fromkeys(self._sharers).keys(), self.delivered.keys()),
            Phase.REVEALING: (self.delivered.keys(), self._revealed.keys()),
            Phase.CLOSING: (self.members.keys(), self.members.keys()),
        }[self.phase]
        return (name for name in asked if name not in done and name not in self._gone)

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self.deadline = phase, now + self._terms.phase_seconds

    def _relay(self, now: float) -> Sequence[Effect]:
        """Hand the shares on. Whoever has shared and left already is out: nobody masks for it."""
        here = tuple(name for name in self.members if name in self._shares and name not in self._gone)
        if len(here) < self.threshold:
            raise self._failed(len(here), "shared their secrets")
        shares, self._shares, self._sharers = self._shares, {}, here
        self._enter(Phase.MASKING, now)
        relayed = {
            name: {self._places[sender]: shares[sender][name] for sender in here if sender != name}
            for name in here
        }
        sends = (Send((name,), SharesRelayed(self.number, each)) for name, each in relayed.items())
        return (BeginSum(self._base.parameters), *sends)

    def _report(self, now: float) -> Sequence[Effect]:
        """Tell the survivors of each other."""
        if len(self.delivered) < self.threshold:
            raise self._failed(len(self.delivered), "delivered")
        self._enter(Phase.REVEALING, now)
        here = tuple(self._awaited())
        if len(here) < self.threshold:
            raise self._failed(len(here), "are left to open the sum")
        survivors = tuple(self._places[name] for name in self.delivered)
        return (Send(here, Survivors(self.number, survivors)),)

    def _failed(self, count: int, what: str) -> Failed:
        allowed = len(self.members) - self.threshold
        return Failed(
            f"{count} of {len(self.members)} members {what}, and it takes {self.threshold}: the task's"
            f" aggregation.masking.dropouts lets {allowed} drop out"
        )

    # ── unmasking ────────────────────────────────────────────────────────────────────────────────────────

    def _is_open(self) -> bool:
        """Tell whether enough shares of every secret that is needed have come."""
        if len(self._revealed) < self.threshold:
            return False  # without looking at every share each time that one comes
        found = (*self._seeds().values(), *self._mask_keys().values())
        return all(len(shares) >= self.threshold for shares in found)

    def _culprits(self) -> list[ParticipantID]:
        """Return whose secrets cannot be opened though enough members revealed what they hold."""
        if len(self._revealed) < self.threshold:
            return []
        found = {**self._seeds(), **self._mask_keys()}
        return [owner for owner, shares in found.items() if len(shares) < self.threshold]

    def _seeds(self) -> dict[ParticipantID, dict[ParticipantID, bytes]]:
        said = self._revealed.items()
        return {
            owner: {holder: answer.seeds[owner] for holder, answer in said if owner in answer.seeds}
            for owner in self.delivered
        }

    def _mask_keys(self) -> dict[ParticipantID, dict[ParticipantID, bytes]]:
        said = self._revealed.items()
        dropped = (name for name in self._sharers if name not in self.delivered)
        return {
            owner: {holder: answer.mask_keys[owner] for holder, answer in said if owner in answer.mask_keys}
            for owner in dropped
        }

    def _plan(self) -> Unmask:
        return Unmask(
            self._base,
            self._terms.range,
            self.threshold,
            transcript(self._task, self._round, self.number, self._roster()),
            self.members,
            tuple(self.delivered),
            self._seeds(),
            self._mask_keys(),
        )
