"""Connected first, then sharing: the phase between a round's list of peers and its first update.

    PeersForRound ──► connecting ──all connected──────────────────────► StartSharing to all
                       │      ▲
                deadline      └── RetryConnections to all, at most max_retries times
                       │
                       └─retries used up──► ConnectionsFailed to the unconnected, who are out;
                                            the others start if they are enough

Without it a fast peer sends its update before a slow one can receive it (DISCO #1109).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from disco.core.events import (
    ConnectionsFailed,
    Effect,
    ParticipantID,
    RetryConnections,
    Send,
    StartSharing,
)


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
    """The peers of one round while they connect.

    A round that has fewer than `minimum` members left is abandoned: they are told `ConnectionsFailed` at
    once, since the privacy of a round rests on its size and nobody else can join it any more.

    Args:
        members: the round's peers.
        minimum: members without which the round is abandoned.
        limits: of time and attempts.
        now: seconds, the clock of `expire`.

    Attributes:
        deadline: when the present attempt has taken too long; inf once `over`.
        over: whether everything has been said; the barrier can be forgotten.
    """

    def __init__(
        self, members: Iterable[ParticipantID], minimum: int, limits: BarrierLimits, now: float
    ) -> None:
        self._members = dict.fromkeys(members)
        self._unconnected = set(self._members)
        self._minimum = minimum
        self._limits = limits
        self._retries = 0
        self.deadline = now + limits.max_connection_seconds
        self.over = False

    def __contains__(self, peer: ParticipantID) -> bool:
        return peer in self._members

    def connect(self, peer: ParticipantID) -> Sequence[Effect]:
        """Note that a member is connected to all others. Whoever was connected stays so through retries."""
        self._unconnected.discard(peer)
        return self._settle()

    def leave(self, peer: ParticipantID) -> Sequence[Effect]:
        """Let a member go; the others neither wait for it nor count it."""
        self._members.pop(peer, None)
        self._unconnected.discard(peer)
        return self._settle()

    def expire(self, now: float) -> Sequence[Effect]:
        """Act on the deadline: try again, or go on without the unconnected."""
        if self.over or now < self.deadline:
            return ()
        self._retries += 1
        if self._retries <= self._limits.max_retries:
            self.deadline = now + self._limits.max_connection_seconds
            return (Send(tuple(self._members), RetryConnections()),)
        failed = tuple(peer for peer in self._members if peer in self._unconnected)
        for peer in failed:
            del self._members[peer]
        self._unconnected.clear()
        return (Send(failed, ConnectionsFailed()), *self._settle())

    def _settle(self) -> Sequence[Effect]:
        enough = len(self._members) >= self._minimum
        if self.over or (enough and self._unconnected):
            return ()
        self.over = True
        self.deadline = math.inf
        if not self._members:
            return ()
        return (Send(tuple(self._members), StartSharing() if enough else ConnectionsFailed()),)
