"""What waits to be sent to one connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

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


class _Item(Struct, frozen=True):
    data: Encoded | Rest
    replaceable: bool


class Outbox:
    """A bounded queue before the one writer of a socket. Putting never waits.

    A small message goes out at once, or at the end of the turn together with what comes after it, if nothing waits
    before it and the connection takes it; a writer is needed for what is left.

    A newer global model replaces one that still waits, so that a slow reader gets fewer models, not older ones.
    Whoever lets more than the limit pile up is let go.
    """

    def __init__(
        self,
        limit: int,
        send_now: Callable[..., Sent] = lambda *messages: Sent.NOTHING,
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
        #: See `Turn.defer`.
        self.defer: Callable[[Callable[[], None]], bool] = lambda call: False
        self._deferred = False  # all that waits is sent at the end of the turn, without a writer
        self._deferred_bytes = 0
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
        """Send one message at once, or at the end of the turn, or queue it; `replaceable` ones replace each other.

        Over the limit, everything waiting is dropped and the connection is closed instead (1008).
        """
        if self._farewell is not None:
            return
        item = _Item(data, replaceable)
        if isinstance(data, bytes) and self._put_off(item, len(data)):
            return
        self._send_deferred()
        self._drop_replaced(item)
        if len(self._items) >= self._limit:
            self._items = [item for item in self._items if item.data is Rest.REST]
            self.close(1008, f"reads too slowly: limits.outbox_messages, {self._limit}, are waiting")
            return
        self._items.append(item)
        if len(self._items) > 1 or not self._send():
            self._needed()

    def _put_off(self, item: _Item, size: int) -> bool:
        """Leave a small message to the end of the turn, if there is one and what waits already is left to it too."""
        if self._deferred:
            self._drop_replaced(item)
            if self._deferred_bytes + size > NOW_BYTES or len(self._items) == self._limit:
                return False
        elif self._items or size > NOW_BYTES or not self.defer(self._send_deferred):
            return False
        else:
            self._deferred, self._deferred_bytes = True, 0
        self._items.append(item)
        self._deferred_bytes += size
        return True

    def _drop_replaced(self, item: _Item) -> None:
        if item.replaceable and self._items:
            self._items = [other for other in self._items if not other.replaceable]

    def _send_deferred(self) -> None:
        """Send what was left to the end of the turn, unless it has been sent already."""
        if self._deferred:
            self._deferred = False
            if self._items and not self._send():
                self._needed()

    def _send(self) -> bool:
        """Send what waits, if it is small, as far as that needs no waiting; tell whether nothing is left."""
        messages = [item.data for item in self._items if isinstance(item.data, bytes)]
        if len(messages) < len(self._items) or sum(map(len, messages)) > NOW_BYTES:
            return False
        sent = self._send_now(*messages)
        if sent is not Sent.NOTHING:
            self._items = [] if sent is Sent.ALL else [_Item(Rest.REST, replaceable=False)]
        return sent is Sent.ALL

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
