"""Takes part in masked rounds: what the server asks in each phase is checked, and answered without the caller."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from disco.core.aggregation.parameters import Reading
from disco.core.events import Contributed, Event
from disco.core.masking.member import Footing, Member
from disco.core.masking.terms import read_terms
from disco.core.masking.words import (
    KeysAdvertised,
    MaskedContributed,
    MaskedMessage,
    Roster,
    RoundAbandoned,
    SharesRelayed,
    Survivors,
)
from disco.core.messages import Message
from disco.core.names import TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, ProtocolViolation, Refused
from disco.participant.attendance import Attendance, Place
from disco.participant.connection import Connection
from disco.participant.standing import News, NewsKind, Outstanding, Standing

log = logging.getLogger("disco.participant")

#: Demands of the server that wait for an answer, at most; an honest one makes the next when it has the answer.
MOST_DEMANDS = 8


@dataclass(slots=True, eq=False, kw_only=True)
class MaskedOutstanding(Outstanding):
    """A contribution that is masked anew in each attempt at its round.

    Args:
        update: the weights.
        base: the global model that the change is from.
    """

    update: Weights
    base: Weights


def footing_of(document: Mapping[str, Any], task: TaskID, group_secret: bytes) -> Footing:
    """Read on what to take part in a task that masks.

    Raises:
        Refused: the task's document says something that no server should.
    """
    reading = Reading("aggregation")
    match document:
        case {
            "aggregation": {"masking": dict(table)},
            "trainingInformation": {"minNbOfParticipants": int(minimum)},
        }:
            terms = read_terms(table, reading)
        case _:
            raise Refused(
                "the task cannot be taken part in: it does not say how contributions are masked, or by how many"
            )
    if reading.problems:
        raise Refused(f"the task cannot be taken part in: {reading.problems[0]}")
    return Footing(task, terms, minimum, group_secret)


class MaskedAttendance(Attendance):
    """One participant's presence in a task that masks.

    Args:
        place: where.
        standing: what is known, and the contribution to mask.
        on_news: is called with what happens.
        footing: what the server's demands are checked against.
    """

    def __init__(
        self,
        place: Place,
        standing: Standing,
        on_news: Callable[[News], None] | None,
        footing: Footing,
    ) -> None:
        super().__init__(place, standing, on_news)
        self._footing = footing
        self._demands: deque[MaskedMessage] = deque(maxlen=MOST_DEMANDS)

    def outstanding(self, event: Contributed) -> MaskedOutstanding:
        """See `Attendance.outstanding`; the weights stay here until they are masked, and the rest is not sent.

        Raises:
            Refused: it cannot count, which the server could not see.
        """
        update, base = event.update, self._standing.weights
        try:
            update.require_structure(base.shapes)
            update.require_finite()
        except InvalidUpdate as error:
            raise Refused(str(error)) from error
        return MaskedOutstanding(event.round, event.key or "", b"", update=update, base=base)

    def _take(self, message: Message) -> None:
        if isinstance(message, MaskedMessage):
            self._demands.append(message)
            self.ring()
        else:
            super()._take(message)

    async def _send(self, connection: Connection, made: Outstanding) -> None:
        """Take part in the round, in one attempt after the other, until it is over."""
        assert isinstance(made, MaskedOutstanding)
        self._demands.clear()
        member = await self._advertise(connection, made)
        while self._standing.unresolved is made:
            bell = self._bell
            if not self._demands:
                await bell.wait()
                continue
            demand = self._demands.popleft()
            if isinstance(demand, RoundAbandoned):
                log.warning("%s %s", self.name(made.round), demand.reason)
                self._publish(News(NewsKind.REMARK, self._standing.participants, demand.reason))
                member = await self._advertise(connection, made)
                continue
            try:
                answer = await trio.to_thread.run_sync(partial(self._answer, member, demand, made))
            except ProtocolViolation as error:
                # Whatever was masked stays so: this participant gives no shares for it.
                made.outcome = Refused(f"the contribution stays masked: {error}")
                self.ring()
                return
            await connection.send(answer)

    async def _advertise(self, connection: Connection, made: MaskedOutstanding) -> Member:
        made.sent, made.discarded = True, ""
        me = self._standing.me
        member = Member(me, made.round, self._footing)
        await connection.send(self.compose(KeysAdvertised(me, made.round, member.keys)))
        return member

    def _answer(self, member: Member, demand: MaskedMessage, made: MaskedOutstanding) -> bytes:
        """Do what a phase asks, and write the answer; takes long for large models and many members.

        Raises:
            ProtocolViolation: it is not to be done.
        """
        event: Event
        match demand:
            case Roster():
                event = member.share(demand)
            case SharesRelayed():
                event = self._mask(member, demand, made)
            case Survivors():
                event = member.reveal(demand)
            case _:
                raise ProtocolViolation(f"nobody answers {type(demand).__name__}")
        return self.compose(event)

    def _mask(self, member: Member, demand: SharesRelayed, made: MaskedOutstanding) -> MaskedContributed:
        masked = member.mask(demand, made.update, made.base)
        if member.clipped:
            log.warning(
                "%s %s of %s changes are beyond the task's aggregation.masking.range, %g, and count as that",
                self.name(made.round),
                member.clipped,
                made.update.parameters,
                self._footing.terms.range,
            )
        return masked
