"""A WebSocket over plain ASGI messages: where the server has no better way, and only slower."""

from __future__ import annotations

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

from disco.errors import LimitExceeded, TextMessage
from disco.runtime.frames import REASON_BYTES
from disco.runtime.transport import AtOnce, Received, Sent
from disco.wire.dialect import Encoded, whole


class AsgiTransport:
    """A `Transport` over plain ASGI messages: what every ASGI server offers."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable, limit_bytes: int) -> None:
        """Wrap the two callables of an accepted WebSocket; a message over the limit costs the connection."""
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes

    async def receive(self, at_once: AtOnce | None = None) -> Received | None:
        """See `Transport.receive`. Every message is returned.

        A message over the limit has been buffered by the server before it is refused.
        """
        event = await self._receive()
        if event["type"] != "websocket.receive":
            return None
        if event.get("text") is not None:
            raise TextMessage("a text frame came where every message is binary msgpack")
        # hypercorn hands an empty binary message on as None.
        data = event.get("bytes") or b""
        if len(data) > self._limit_bytes:
            raise LimitExceeded(f"a message of {len(data)} bytes is over the limit of {self._limit_bytes}")
        return data

    async def send(self, data: Encoded) -> None:
        """See `Transport.send`."""
        await self._send({"type": "websocket.send", "bytes": whole(data), "text": None})

    def send_now(self, *messages: bytes) -> Sent:
        """See `Transport.send_now`: ASGI always waits."""
        return Sent.NOTHING

    async def flush(self) -> None:
        """See `Transport.flush`: nothing is ever begun."""

    async def close(self, code: int, reason: str) -> None:
        """See `Transport.close`."""
        cut = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        await self._send({"type": "websocket.close", "code": code, "reason": cut})
