"""hypercorn's stream for an upgrade request, with a way for the app to take the connection over.

Private names of hypercorn are used here and in `hypercorn_seam`, which checks them before it imports this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import inf
from time import time
from typing import Any

import trio
from hypercorn.protocol.events import Event, Request, Response
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ASGISendEvent, ResponseSummary

from disco.runtime import byte_stream
from disco.runtime.fast_websocket import FastWebSocket, Gate, Patience
from disco.web.hypercorn_seam import EXTENSION


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an app finds in its scope: the chance to be given the connection itself."""

    stream: UpgradableStream

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        limit_bytes: int | None = None,
        patience: Patience | None = None,
        gate: Gate | None = None,
    ) -> FastWebSocket:
        """Accept the WebSocket and take the connection over; from then on ASGI messages have no effect.

        Whatever the app has not closed when it ends is closed with 1011.

        Args:
            subprotocol: one of those the client offered.
            headers: more of them for the answer; names in lower case.
            limit_bytes: of one message that is received; hypercorn's ``websocket_max_message_size`` if None.
            patience: with the client; hypercorn's ``websocket_ping_interval``, and no end to it, if None.
            gate: see `FastWebSocket`.

        Raises:
            RuntimeError: the request has been answered before.
        """
        config = self.stream.config
        stream, rest = await self.stream.take_over(subprotocol, headers)
        self.stream.websocket = FastWebSocket(
            stream,
            config.websocket_max_message_size if limit_bytes is None else limit_bytes,
            rest=rest,
            patience=patience or Patience(ping=config.websocket_ping_interval or inf),
            gate=gate,
        )
        return self.stream.websocket

    async def stopping(self) -> None:
        """Wait until the server takes no new connections, for it is about to stop."""
        await self.stream.context.terminated.wait()


class UpgradableStream(WSStream):
    """An upgrade request. The app answers it by ASGI messages, or takes the connection over.

    hypercorn reads a connection in a loop that awaits `handle`. Until the request is answered, and then for as long
    as the app has the connection, `handle` does not return, so that nobody else reads.
    """

    def __init__(self, app: Any, *arguments: Any) -> None:
        """Take what hypercorn gives to its own class."""
        super().__init__(app, *arguments)
        self.websocket: FastWebSocket | None = None
        self._answered = trio.Event()
        self._origin = find_origin(self.send)
        if self._origin is not None:
            self.app = self._offering(app)

    def _offering(self, app: Any) -> Any:
        async def run(scope: Any, *arguments: Any) -> None:
            scope["extensions"][EXTENSION] = Upgrade(self)
            await app(scope, *arguments)

        return run

    async def handle(self, event: Event) -> None:
        """See the base class; for the request itself, also wait until hypercorn may go on reading."""
        await super().handle(event)
        if isinstance(event, Request) and self._origin is not None and not self.closed:
            await self._answered.wait()

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """See the base class; None says that the app has ended."""
        try:
            if self.websocket is not None:
                if message is not None:
                    return
                await self.websocket.close(1011, "")
                self.state = ASGIWebsocketState.CLOSED
            await super().app_send(message)
        finally:
            if message is None or (self.websocket is None and self.state is not ASGIWebsocketState.HANDSHAKE):
                self._answered.set()

    async def take_over(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[byte_stream.ByteStream, bytes]:
        """Answer the request with 101; return the connection and what was received behind the request."""
        if self._origin is None or self.state is not ASGIWebsocketState.HANDSHAKE:
            raise RuntimeError("the upgrade request has been answered already")
        # permessage-deflate would cost a tenfold of the time, and weights do not shrink.
        self.handshake.extensions = None
        status, answer, _ = self.handshake.accept(subprotocol, headers)
        self.state = ASGIWebsocketState.CONNECTED
        await self.send(Response(stream_id=self.stream_id, status_code=status, headers=answer))
        summary: ResponseSummary = {"status": status, "headers": []}
        await self.config.log.access(self.scope, summary, time() - self.start_time)
        return self._origin.give()


@dataclass(frozen=True, slots=True)
class Origin:
    """The connection that a request came by."""

    protocol: H11Protocol
    stream: trio.abc.Stream

    def give(self) -> tuple[byte_stream.ByteStream, bytes]:
        """Return the connection, and the bytes that hypercorn has read of it and not used."""
        connection = self.protocol.connection
        rest = b""
        if isinstance(connection, H11WSConnection):
            rest, connection.buffer = bytes(connection.buffer), bytearray()
        return byte_stream.over(self.stream), rest


def find_origin(send: Callable[[Event], Awaitable[None]]) -> Origin | None:
    """Find the connection behind a stream's `send`; None under HTTP/2 or another worker than Trio's.

    That callable is a method of the `H11Protocol`, whose own is a method of the `TCPServer`: the shortest way from a
    stream to its connection, and it needs no second name replaced.
    """
    protocol = getattr(send, "__self__", None)
    if not isinstance(protocol, H11Protocol):
        return None
    server = getattr(protocol.send, "__self__", None)
    return Origin(protocol, server.stream) if isinstance(server, TCPServer) else None
