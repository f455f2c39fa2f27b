"""What waits to be sent to one connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import trio


@dataclass(frozen=True, slots=True)
class Farewell:
    """The connection is to be closed: with what code, and why."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Item:
    data: bytes
    replaceable: bool


class Outbox:
    """A bounded queue with one writer of the socket at its end. Putting never waits.

    A newer global model replaces one that still waits, so that a slow reader gets fewer models, not older ones.
    Whoever lets more than the limit pile up is let go.
    """

    def __init__(self, limit: int) -> None:
        """Make an empty one; `limit` is in messages."""
        self._limit = limit
        self._items: deque[_Item] = deque()
        self._farewell: Farewell | None = None
        self._changed = trio.Event()

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return len(self._items)

    def put(self, data: bytes, *, replaceable: bool = False) -> None:
        """Queue one message; `replaceable` ones replace each other.

        Over the limit, everything waiting is dropped and the connection is closed instead (1008).
        """
        if self._farewell is not None:
            return
        if replaceable:
            self._items = deque(item for item in self._items if not item.replaceable)
        if len(self._items) >= self._limit:
            self._items.clear()
            self.close(1008, f"reads too slowly: limits.outbox_messages, {self._limit}, are waiting")
        else:
            self._items.append(_Item(data, replaceable))
        self._changed.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection once what waits has been sent. The first reason stays."""
        self._farewell = self._farewell or Farewell(code, reason)
        self._changed.set()

    async def next(self) -> bytes | Farewell:
        """Return what to send next, waiting for it."""
        while True:
            if self._items:
                return self._items.popleft().data
            if self._farewell is not None:
                return self._farewell
            self._changed = trio.Event()
            await self._changed.wait()
