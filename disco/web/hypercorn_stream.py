"""hypercorn's stream for an upgrade request, with a way for the app to take the connection over.

Private names of hypercorn are used here and in `hypercorn_seam`, which checks them before it imports this module.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import inf
from time import time
from typing import Any, Protocol, TypeAlias

import trio
from hypercorn.protocol.events import Event, Request, Response
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ASGISendEvent, ResponseSummary

from disco.runtime import byte_stream
from disco.runtime.admission import Gate
from disco.runtime.fast_websocket import FastWebSocket
from disco.runtime.patience import Patience
from disco.runtime.poll import Poll
from disco.web.hypercorn_seam import EXTENSION

log = logging.getLogger("disco.web")

Serve: TypeAlias = Callable[[], Awaitable[None]]


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
        poll: Poll | None = None,
    ) -> FastWebSocket:
        """Accept the WebSocket and take the connection over; from then on ASGI messages have no effect.

        Whatever the app has not closed when it ends is closed with 1011.

        Args:
            subprotocol: one of those the client offered.
            headers: more of them for the answer; names in lower case.
            limit_bytes: of one message that is received; hypercorn's ``websocket_max_message_size`` if None.
            patience: with the client; hypercorn's ``websocket_ping_interval``, and no end to it, if None.
            gate: see `FastWebSocket`.
            poll: likewise.

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
            poll=poll,
        )
        return self.stream.websocket

    async def run(self, serve: Serve, nursery: trio.Nursery) -> None:
        """Run what serves an accepted WebSocket; the last thing that an app does.

        On a plain connection it becomes a task of `nursery`, and hypercorn's own ends: of thousands of idle
        participants only what serves them is left, and nothing of their requests. On any other it is run here.
        """
        await self.stream.run(serve, nursery)

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
        self._detached = False  # what serves the WebSocket is a task of its own
        self._origin = self.find_origin()
        if self._origin is not None:
            self.app = self._offering(app)

    def find_origin(self) -> Giver | None:
        """Find the connection that this request came by; None where it cannot be taken over."""
        return find_origin(self.send)

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

    async def run(self, serve: Serve, nursery: trio.Nursery) -> None:
        """See `Upgrade.run`."""
        if self.websocket is None or not isinstance(self._origin, Origin) or not self._origin.detach():
            await serve()
            return
        websocket, self.websocket, self._detached = self.websocket, None, True
        nursery.start_soon(serve_alone, websocket, serve)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """See the base class; None says that the app has ended."""
        if self._detached:
            self.state = ASGIWebsocketState.CLOSED
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
        """Accept the request; return the connection, and what was received behind the request."""
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


class Giver(Protocol):
    """What a request came by."""

    def give(self) -> tuple[byte_stream.ByteStream, bytes]:
        """Return the bytes to come, and those that have come and not been used."""


@dataclass(slots=True)
class Origin:
    """The connection that a request came by.

    Args:
        given: to whoever took it over.
    """

    protocol: H11Protocol
    server: TCPServer
    given: byte_stream.ByteStream | None = None

    def give(self) -> tuple[byte_stream.ByteStream, bytes]:
        """Return the connection, and the bytes that hypercorn has read of it and not used."""
        connection = self.protocol.connection
        rest = b""
        if isinstance(connection, H11WSConnection):
            rest, connection.buffer = bytes(connection.buffer), bytearray()
        self.given = byte_stream.over(self.server.stream)
        return self.given, rest

    def detach(self) -> bool:
        """Let hypercorn find the connection at its end, and close nothing; tell whether that is possible."""
        if not isinstance(self.given, byte_stream.SocketBytes):
            return False
        self.given.detach()
        ended: Any = Ended()  # no TLS and no socket, which hypercorn asks for at the beginning only
        self.server.stream = ended
        return True


class Ended(trio.abc.HalfCloseableStream):
    """What hypercorn has in the place of a connection that is not its own any more."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return nothing: the end."""
        await trio.lowlevel.checkpoint()
        return b""

    async def send_all(self, data: object) -> None:
        """Drop it."""
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Return: nothing ever blocks."""
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()


async def serve_alone(websocket: FastWebSocket, serve: Serve) -> None:
    """Serve a WebSocket and close it, whatever happens; what is raised is logged and ends here."""
    try:
        await serve()
    except* Exception:
        log.exception("serving a WebSocket failed")
    finally:
        await websocket.close(1011, "")


def find_origin(send: Callable[[Event], Awaitable[None]]) -> Origin | None:
    """Find the connection behind a stream's `send`; None under HTTP/2 or another worker than Trio's.

    That callable is a method of the `H11Protocol`, whose own is a method of the `TCPServer`: the shortest way from a
    stream to its connection, and it needs no second name replaced.
    """
    protocol = getattr(send, "__self__", None)
    if not isinstance(protocol, H11Protocol):
        return None
    server = getattr(protocol.send, "__self__", None)
    return Origin(protocol, server) if isinstance(server, TCPServer) else None
