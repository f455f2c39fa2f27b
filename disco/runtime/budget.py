"""Bounds what all connections together hold of updates that are received and not yet summed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

import trio

from disco.runtime.lane import STALL_SECONDS, Lane


@dataclass(slots=True, eq=False)
class _Turn:
    """One connection that waits for room."""

    reservation: Reservation
    size: int
    come: trio.Event = field(default_factory=trio.Event)


class Budget:
    """Bytes in flight over all connections. Whoever finds no room is not read until there is, in order of asking.

    A message larger than the whole budget is let in when nothing else is in flight; otherwise it could never be. A
    message that comes in fragments holds room while it asks for more: two such could wait for each other for ever,
    so one at a time is let over the limit. What is in flight never exceeds the limit by more than one message.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Allow so many bytes, above 0."""
        self.limit_bytes = limit_bytes
        self.taken_bytes = 0
        self.peak_bytes = 0
        self._waiting: deque[_Turn] = deque()
        self._overdrawn: Reservation | None = None

    @property
    def waiting(self) -> int:
        """How many connections wait for room."""
        return len(self._waiting)

    async def _take(self, reservation: Reservation, size: int) -> None:
        if not self._waiting and self._grant(reservation, size):
            return
        turn = _Turn(reservation, size)
        # Who holds room already goes first: nobody else gets any before it is done.
        self._waiting.append(turn) if not reservation.held_bytes else self._waiting.appendleft(turn)
        self._serve()
        try:
            await turn.come.wait()
        except trio.Cancelled:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._serve()
            raise

    def _grant(self, reservation: Reservation, size: int) -> bool:
        fits = self.taken_bytes + size <= self.limit_bytes or self.taken_bytes == 0
        if not fits and reservation.held_bytes and self._overdrawn in (None, reservation):
            self._overdrawn, fits = reservation, True
        if fits:
            reservation.held_bytes += size
            self.taken_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.taken_bytes)
        return fits

    def _give_back(self, reservation: Reservation) -> None:
        self.taken_bytes -= reservation.held_bytes
        reservation.held_bytes = 0
        if self._overdrawn is reservation:
            self._overdrawn = None
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._grant(self._waiting[0].reservation, self._waiting[0].size):
            self._waiting.popleft().come.set()


class Reservation:
    """One connection's part of a budget, and its place in its task's lane. A `Gate` for its large payloads."""

    __slots__ = ("_budget", "_lane", "held_bytes", "stall_seconds")

    def __init__(self, budget: Budget, lane: Lane) -> None:
        """Begin with nothing held."""
        self._budget = budget
        self._lane = lane
        self.held_bytes = 0
        self.stall_seconds = inf

    async def admit(self, size: int) -> None:
        """Wait until so many more bytes may be received. Cancelled, it has taken nothing."""
        await self._lane.enter(self)
        self.stall_seconds = STALL_SECONDS
        try:
            await self._budget._take(self, size)
        except BaseException:
            self.stalled()
            raise

    def stalled(self) -> None:
        """Leave the lane: the sender is slow."""
        self.stall_seconds = inf
        self._lane.leave(self)

    def release(self) -> None:
        """Give everything back: the message has been handled, or will never be."""
        self.stalled()
        if self.held_bytes:
            self._budget._give_back(self)
