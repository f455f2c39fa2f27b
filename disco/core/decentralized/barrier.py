"""Connected first, then sharing: the phase between a round's list of peers and its first update.

    PeersForRound ──► connecting ──all connected──────────► StartSharing to all
         ▲                │
         │                ├─ a member left ───────────────► RetryConnections to the others
         │                ├─ deadline ────────────────────► RetryConnections to all, at most max_retries times
         │                └─ deadline, retries used up ───► ConnectionsFailed to the unconnected, who are out;
         │                                                  RetryConnections to the others
         │                                                      │
         └──────────── all ready again ◄─── regrouping ◄────────┘

Without it a fast peer sends its update before a slow one can receive it (DISCO #1109). Peers that are told to try
again close the connections that they have, say that they are ready, and wait for a list: who shares knows exactly
the peers that share.

Source: DISCO v4 wire, ConnectionsReady, RetryPeerConnections, ConnectionFail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from disco.core.effects import Effect, Send
from disco.core.messages import ConnectionsFailed, RetryConnections, StartSharing
from disco.core.names import ParticipantID


@dataclass(frozen=True, slots=True)
class BarrierLimits:
    """How long the peers of a round may take to connect.

    Args:
        max_connection_seconds: for one attempt; above 0.
        max_retries: attempts after the first; 0 for none.

    Raises:
        ValueError: a number is out of range.
    """

    max_connection_seconds: float = 60.0
    max_retries: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.max_connection_seconds < math.inf:
            raise ValueError(f"max_connection_seconds must be above 0, not {self.max_connection_seconds}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must be at least 0, not {self.max_retries}")


class Barrier:
    """The peers of one round until they share.

    Args:
        members: the round's peers.
        limits: of time and attempts.
        now: seconds, the clock of `expire`.
        retries: attempts that this round has had before.

    Attributes:
        retries: attempts after the first; begun anew when somebody is excluded.
        regrouping: whether the members are to say that they are ready again; if not, they connect.
        over: whether everything has been said; the barrier can be forgotten.
    """

    def __init__(
        self, members: Iterable[ParticipantID], limits: BarrierLimits, now: float, retries: int = 0
    ) -> None:
        self._members = dict.fromkeys(members)
        self._awaited = set(self._members)
        self._limits = limits
        self._attempt_ends = now + limits.max_connection_seconds
        self.retries = retries
        self.regrouping = False
        self.over = False

    def __contains__(self, peer: ParticipantID) -> bool:
        return peer in self._members

    @property
    def deadline(self) -> float:
        """When somebody has taken too long; inf while nobody is awaited."""
        return self._attempt_ends if self._awaited and not self.over else math.inf

    def connect(self, peer: ParticipantID) -> Sequence[Effect]:
        """Note that a member is connected to all others.

        While they regroup, its connections are those of an attempt that is over: it is told so again, because a client
        that was connecting when it was told did not hear it.
        """
        if self.regrouping:
            return (Send((peer,), RetryConnections()),) if peer in self._awaited else ()
        self._awaited.discard(peer)
        if self._awaited:
            return ()
        self.over = True
        return (Send(tuple(self._members), StartSharing()),)

    def rejoin(self, peer: ParticipantID, now: float) -> Sequence[Effect]:
        """Note that a member is ready again; if it was to connect, it has given this attempt up, and so do all."""
        if not self.regrouping:
            return self.leave(peer, now)
        self._awaited.discard(peer)
        return ()

    def leave(self, peer: ParticipantID, now: float) -> Sequence[Effect]:
        """Let a member go. If they were connecting, the others begin again without it."""
        self._members.pop(peer, None)
        self._awaited.discard(peer)
        self.over = not self._members
        return () if self.over or self.regrouping else self._regroup(now)

    def expire(self, now: float, *, counts: bool) -> tuple[Sequence[Effect], Sequence[ParticipantID]]:
        """Act on the deadline: let them try again, or exclude those who are awaited.

        Args:
            now: seconds.
            counts: whether this attempt counts; one for which there are too few peers does not.

        Returns:
            What is to be done, and who is excluded.
        """
        if now < self.deadline:
            return (), ()
        self.retries += counts
        if self.retries <= self._limits.max_retries:
            return self._regroup(now), ()
        failed = tuple(peer for peer in self._members if peer in self._awaited)
        for peer in failed:
            del self._members[peer]
        self._awaited.clear()
        self.retries = 0
        self.over = not self._members
        told = Send(failed, ConnectionsFailed())
        if self.over or self.regrouping:
            return (told,), failed
        return (told, *self._regroup(now)), failed

    def _regroup(self, now: float) -> Sequence[Effect]:
        """Ask members to begin again: all of them, or those who were asked and are not ready yet."""
        if not self.regrouping:
            self._awaited = set(self._members)
        self.regrouping = True
        self._attempt_ends = now + self._limits.max_connection_seconds
        asked = tuple(peer for peer in self._members if peer in self._awaited)
        return (Send(asked, RetryConnections()),)
