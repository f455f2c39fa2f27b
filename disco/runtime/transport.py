"""What a connection needs of a WebSocket. Edges implement it; everything above knows only this."""

from __future__ import annotations

from typing import Protocol, TypeAlias

Received: TypeAlias = bytes | bytearray | memoryview


class Transport(Protocol):
    """One accepted WebSocket. `receive` has one caller at a time, and so has `send`."""

    async def receive(self) -> Received | None:
        """Return the next whole binary message, or None when the other side is gone.

        Every message that arrived before the end is returned before None. The buffer belongs to the caller.

        Raises:
            ProtocolViolation: a text message.
            LimitExceeded: a message over the limit; nothing more can be received.
        """

    async def send(self, data: bytes) -> None:
        """Send one binary message; returns when the transport has taken it. Silent when the other side is gone."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a code and a reason, which is cut to 123 bytes of UTF-8 (RFC 6455, section 5.5)."""
