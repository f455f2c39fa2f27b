"""What a connection needs of a WebSocket. Edges implement it; everything above knows only this."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, TypeAlias

from disco.wire.dialect import Encoded

Received: TypeAlias = bytes | bytearray | memoryview
#: Deals with a message without waiting, or does nothing; tells which. It must not raise. Trio's time is given as well.
AtOnce: TypeAlias = Callable[[Received, float], bool]


class Sent(Enum):
    """How much was sent without waiting."""

    ALL = auto()
    PART = auto()
    NOTHING = auto()


class Transport(Protocol):
    """One accepted WebSocket. `receive` has one caller at a time, and so has `send`."""

    async def receive(self, at_once: AtOnce | None = None) -> Received | None:
        """Return the next whole binary message, or None when the other side is gone.

        Every message that arrived before the end is returned before None. The buffer belongs to the caller.

        Args:
            at_once: may be called with a message, by any task; one for which it returns True is not returned.

        Raises:
            ProtocolViolation: a text message.
            LimitExceeded: a message over the limit; nothing more can be received.
        """

    async def send(self, data: Encoded) -> None:
        """Send one binary message; returns when the transport has taken it. Silent when the other side is gone."""

    def send_now(self, *messages: bytes) -> Sent:
        """Send binary messages as far as that needs no waiting. After a part, `flush` before anything else.

        All is sent, too, when the other side is gone.
        """

    async def flush(self) -> None:
        """Send the rest of what `send_now` has begun; does nothing if there is none."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a code and a reason, which is cut to 123 bytes of UTF-8 (RFC 6455, section 5.5)."""
