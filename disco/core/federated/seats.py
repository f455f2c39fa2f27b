"""Who is present in a federated session, and who has been told to wait for more."""

from __future__ import annotations

import math
from collections.abc import Iterator, KeysView, Sequence
from dataclasses import dataclass

from disco.core.effects import Send
from disco.core.events import Joined
from disco.core.messages import Enough, ParticipantsChanged, WaitingForMore
from disco.core.names import ParticipantID

#: With more participants than this, who joins or leaves is not told to each of them at once: a crowd of 10,000 that
#: comes in a few seconds would be told a hundred million times.
CROWD = 256
#: Seconds between two counts that a crowd is told.
CROWD_SECONDS = 1.0


@dataclass(slots=True)
class Seat:
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


class Seats:
    """The participants that are present, in the order of joining."""

    def __init__(self, minimum: int) -> None:
        """Begin with nobody; `minimum` participants make a round."""
        self._minimum = minimum
        self._seats: dict[ParticipantID, Seat] = {}
        self._told_at = -math.inf
        self._behind = False  # the count has changed since

    @property
    def deadline(self) -> float:
        """When to `catch_up`, in seconds; inf while everybody knows the count."""
        return self._told_at + CROWD_SECONDS if self._behind else math.inf

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, participant: object) -> bool:
        return participant in self._seats

    def __iter__(self) -> Iterator[ParticipantID]:
        return iter(tuple(self._seats))

    def names(self) -> KeysView[ParticipantID]:
        """Return who is present, as a set that changes with them."""
        return self._seats.keys()

    def is_pushed(self, participant: ParticipantID) -> bool:
        """Tell whether somebody who is present is sent the global model when a round closes."""
        return self._seats[participant].pushed

    def take(self, event: Joined, now: float) -> tuple[bool, Sequence[Send]]:
        """Give a participant a seat, or let it keep its own.

        Returns:
            Whether it waits for more, and what the others are told; nothing if it was here already.
        """
        seat = self._seats.get(event.participant)
        others = len(self._seats) - (seat is not None)
        waiting = others + 1 < self._minimum
        if seat is not None:
            seat.waiting = waiting
            seat.may_wait &= not waiting
            return waiting, ()
        self._seats[event.participant] = Seat(event.pushed, waiting, may_wait=not waiting)
        resumed = not waiting and others < self._minimum
        return waiting, self._announce(now, beside=event.participant, resumed=resumed)

    def leave(self, participant: ParticipantID, now: float) -> Sequence[Send] | None:
        """Take a participant's seat away, and return what the others are told; None if it had none."""
        if self._seats.pop(participant, None) is None:
            return None
        return self._announce(now, paused=len(self._seats) == self._minimum - 1)

    def catch_up(self, now: float) -> Sequence[Send]:
        """Return what is due to be told to a crowd."""
        return self._announce(now) if now >= self.deadline else ()

    def contributed(self, participant: ParticipantID) -> None:
        """Remember that a participant, present or not, can be told to wait again."""
        if (seat := self._seats.get(participant)) is not None and not seat.waiting:
            seat.may_wait = True

    def _announce(
        self,
        now: float,
        *,
        beside: ParticipantID | None = None,
        resumed: bool = False,
        paused: bool = False,
    ) -> Sequence[Send]:
        """Tell each participant but one of a change, in exactly one message; a crowd, sometimes later."""
        count = len(self._seats)
        if count > CROWD and not (resumed or paused) and now < self._told_at + CROWD_SECONDS:
            self._behind = True
            return ()
        self._told_at, self._behind = now, False
        go_on, wait, update = [], [], []
        for participant, seat in self._seats.items():
            if participant == beside:
                continue
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
