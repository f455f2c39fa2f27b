"""What waits to be sent to one connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from disco.runtime.transport import Sent
from disco.wire.dialect import Encoded

#: Messages up to this size are sent at once where that needs no waiting: to wake a writer costs as much as 50 kB.
NOW_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Farewell:
    """The connection is to be closed: with what code, and why."""

    code: int
    reason: str


class Rest(Enum):
    """What remains of a message that was sent in part."""

    REST = "rest"


@dataclass(frozen=True, slots=True)
class _Item:
    data: Encoded | Rest
    replaceable: bool


class Outbox:
    """A bounded queue before the one writer of a socket. Putting never waits.

    A small message goes out at once, or together with others' very soon, if nothing waits before it and the connection
    takes it; a writer is needed for what is left.

    A newer global model replaces one that still waits, so that a slow reader gets fewer models, not older ones.
    Whoever lets more than the limit pile up is let go.
    """

    def __init__(
        self,
        limit: int,
        send_now: Callable[[bytes], Sent] = lambda data: Sent.NOTHING,
        needed: Callable[[], None] = lambda: None,
    ) -> None:
        """Make an empty one.

        Args:
            limit: of what waits, in messages.
            send_now: see `Transport.send_now`.
            needed: called when something waits for a writer, which is to `take` until nothing is left.
        """
        self._limit = limit
        self._send_now = send_now
        self._needed = needed
        #: See `Poll.defer`.
        self.defer: Callable[[Callable[[], None]], bool] = lambda call: False
        self._deferred = False  # the only item is sent very soon, without a writer
        self._items: list[_Item] = []  # of a length that the limit keeps short, and mostly 0
        self._farewell: Farewell | None = None
        self._over = False  # the farewell was taken

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return len(self._items)

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._items) or (self._farewell is not None and not self._over)

    def put(self, data: Encoded, *, replaceable: bool = False) -> None:
        """Send one message at once, or queue it; `replaceable` ones replace each other.

        Over the limit, everything waiting is dropped and the connection is closed instead (1008).
        """
        if self._farewell is not None:
            return
        self._send_deferred()
        item = _Item(data, replaceable)
        if not self._items and isinstance(data, bytes) and len(data) <= NOW_BYTES:
            if self.defer(self._send_deferred):
                self._items, self._deferred = [item], True
                return
            left = self._sent(item)
            if left is None:
                return
            item = left
        if replaceable and self._items:
            self._items = [item for item in self._items if not item.replaceable]
        if len(self._items) >= self._limit:
            self._items = [item for item in self._items if item.data is Rest.REST]
            self.close(1008, f"reads too slowly: limits.outbox_messages, {self._limit}, are waiting")
        else:
            self._items.append(item)
            self._needed()

    def _sent(self, item: _Item) -> _Item | None:
        """Send one small message as far as that needs no waiting, and return what is left."""
        assert isinstance(item.data, bytes)
        sent = self._send_now(item.data)
        if sent is Sent.ALL:
            return None
        return _Item(Rest.REST, replaceable=False) if sent is Sent.PART else item

    def _send_deferred(self) -> None:
        """Send what was put a moment ago, unless it has been sent already."""
        if not self._deferred:
            return
        self._deferred = False
        left = self._sent(self._items[0])
        if left is None:
            self._items = []
        else:
            self._items[0] = left
            self._needed()

    def close(self, code: int, reason: str) -> None:
        """Close the connection once what waits has been sent. The first reason stays."""
        if self._farewell is None:
            self._farewell = Farewell(code, reason)
            self._needed()

    def take(self) -> Encoded | Rest | Farewell | None:
        """Return what to send next; None when nothing waits. The farewell is the last, and comes once."""
        if self._items:
            return self._items.pop(0).data
        if self._farewell is None or self._over:
            return None
        self._over = True
        return self._farewell
