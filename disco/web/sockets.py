"""WebSockets: which task, scheme and dialect a path means, and the ASGI edge.

They do not pass through Quart's WebSocket wrapper: it drops what a client sent just before it left, and costs
memory and time for each connection. `WebsocketEdge` takes its place in the app.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, WebsocketScope

from disco.core.access import Deed
from disco.core.events import ParticipantID, Scheme
from disco.core.rate import TokenBucket
from disco.errors import DiscoError, LimitExceeded, SchemeForbidden, TextMessage, Unavailable, UnknownTask
from disco.runtime.budget import Budget, Reservation
from disco.runtime.connection import Connection
from disco.runtime.coordinator import Coordinator
from disco.runtime.directory import Directory
from disco.runtime.fast_websocket import Patience
from disco.runtime.transport import Received, Transport
from disco.settings import Settings
from disco.web.access import Gate
from disco.web.door import Door
from disco.web.hypercorn_seam import EXTENSION
from disco.web.refusals import headers_for
from disco.wire import DIALECTS
from disco.wire.dialect import Dialect

log = logging.getLogger("disco.web")

ROOMS = {
    "federated": Scheme.FEDERATED,
    "feai": Scheme.FEDERATED,
    "decentralized": Scheme.DECENTRALIZED,
    "deai": Scheme.DECENTRALIZED,
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: What a close frame can carry beside its code (RFC 6455, section 5.5).
REASON_BYTES = 123


class Address(NamedTuple):
    """What a WebSocket path asks for; `dialect` is None where the first message tells."""

    task: str
    scheme: Scheme
    client: str | None
    dialect: Dialect | None


def read_path(path: str) -> Address:
    """Read a WebSocket path.

    Source: DISCO wire, generations: ``/federated/:taskID/:clientID``, ``/feai/:taskID/:clientID``,
    ``/decentralized/:taskID/:clientID`` and ``/deai/:taskID`` are v2's; without a client ID the first two words are
    v3's and v4's.

    Raises:
        UnknownTask: it is none of them; the message says what is wrong.
    """
    room, *rest = path.strip("/").split("/")
    if path.startswith("//") or room not in ROOMS or not 1 <= len(rest) <= 2 or not all(rest):
        raise UnknownTask(
            "WebSockets are at /federated/:taskID and /decentralized/:taskID, with /:clientID in v2"
        )
    task, client = rest[0], rest[1] if len(rest) == 2 else None
    if client is not None and not UUID.fullmatch(client):
        raise UnknownTask(f"the client ID {client[:64]!r} is not a UUID")
    if room == "feai" and client is None:
        raise UnknownTask("the path /feai/:taskID/:clientID lacks its client ID")
    v2 = client is not None or room == "deai"
    return Address(task, ROOMS[room], client, DIALECTS["v2"] if v2 else None)


class AsgiTransport:
    """A `Transport` over plain ASGI messages: what every ASGI server offers."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable, limit_bytes: int) -> None:
        """Wrap the two callables of an accepted WebSocket; a message over the limit costs the connection."""
        self._receive = receive
        self._send = send
        self._limit_bytes = limit_bytes

    async def receive(self) -> Received | None:
        """See `Transport.receive`. A message over the limit has been buffered by the server before it is refused."""
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

    async def send(self, data: bytes) -> None:
        """See `Transport.send`."""
        await self._send({"type": "websocket.send", "bytes": data, "text": None})

    async def close(self, code: int, reason: str) -> None:
        """See `Transport.close`."""
        cut = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        await self._send({"type": "websocket.close", "code": code, "reason": cut})


@dataclass(slots=True)
class Lobby:
    """Lets WebSockets in.

    Args:
        numbers: IDs for peers of the v2 dialect, integers unique on this server.
        gate: decides who may join.
        door: counts who does.
        nursery: lives as long as the lobby.
    """

    directory: Directory
    settings: Settings
    numbers: itertools.count[int]
    budget: Budget
    gate: Gate
    door: Door
    nursery: trio.Nursery
    guests: int = 0
    _heeding: bool = False
    _left: trio.Event = field(default_factory=trio.Event)

    async def empty(self) -> None:
        """Wait until no WebSocket is left."""
        while self.guests:
            self._left = trio.Event()
            await self._left.wait()

    def heed(self, stopping: Callable[[], Awaitable[None]]) -> None:
        """Say goodbye to everybody when `stopping` returns, also where nobody but the server itself is told."""

        async def say_goodbye() -> None:
            await stopping()
            self.directory.close_all(1001, "the server is stopping")

        if not self._heeding:
            self._heeding = True
            self.nursery.start_soon(say_goodbye)

    def find(self, path: str) -> tuple[Address, Coordinator[Any]]:
        """Return what a path asks for, and who runs it.

        Raises:
            UnknownTask: the path or the task does not exist.
            SchemeForbidden: the task is not open in this scheme.
            Unavailable: the task is being restarted.
        """
        address = read_path(path)
        entry = self.directory.get(address.task)
        if address.scheme not in entry.task.schemes:
            raise SchemeForbidden(f"the task {address.task!r} is not open for {address.scheme} training")
        coordinator = entry.training if address.scheme is Scheme.FEDERATED else entry.hub
        if entry.pause.on:
            raise Unavailable(f"the task {address.task!r} is paused; try again later")
        if coordinator is None:
            raise Unavailable(f"the task {address.task!r} is being restarted; try again in a moment")
        return address, coordinator

    async def serve(
        self,
        transport: Transport,
        address: Address,
        coordinator: Coordinator[Any],
        reservation: Reservation,
    ) -> None:
        """Serve an accepted WebSocket until either side closes."""
        participant: ParticipantID | None = None
        allow = None
        if address.scheme is Scheme.DECENTRALIZED:
            limit = self.settings.limits.signals_per_second
            allow = TokenBucket(rate=limit, burst=2 * limit).allow
            if address.dialect is not None:
                participant = ParticipantID(str(next(self.numbers)))
        elif address.client is not None:
            participant = ParticipantID(address.client.lower())
        connection = Connection(
            transport, coordinator, address.scheme, self.settings.limits, allow, reservation.release
        )
        self.guests += 1
        try:
            await connection.serve(participant, address.dialect)
        finally:
            self.guests -= 1
            self._left.set()


class HasLobby(Protocol):
    """The app, as far as WebSockets concern it."""

    lobby: Lobby


class WebsocketEdge:
    """What the app runs for each WebSocket, in place of Quart's own."""

    def __init__(self, app: HasLobby, scope: WebsocketScope) -> None:
        """Take one connection's scope."""
        self._app = app
        self._scope = scope

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Refuse before the upgrade, with a status and a sentence, or serve."""
        await receive()  # websocket.connect
        lobby = self._app.lobby
        with ExitStack() as visit:
            try:
                asked = lobby.gate.asked(self._scope)
                visit.enter_context(lobby.door.entered(asked.address, trio.current_time()))
                address, coordinator = lobby.find(self._scope["path"])
                lobby.gate.require(Deed.JOIN, asked, lobby.directory.get(address.task).task)
            except DiscoError as error:
                log.info("path=%s refused: %s", self._scope["path"][:200], error)
                await refuse(self._scope, send, error)
                return
            await self._serve(receive, send, address, coordinator, asked.protocol)

    async def _serve(
        self,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        address: Address,
        coordinator: Coordinator[Any],
        protocol: str | None,
    ) -> None:
        """Accept, and serve until either side closes."""
        lobby = self._app.lobby
        limits = lobby.settings.limits
        size = limits.message_bytes if address.scheme is Scheme.FEDERATED else limits.signal_bytes
        reservation = Reservation(lobby.budget, coordinator.lane)
        # Where the server offers it, Disco's own transport; plain ASGI elsewhere, which is only slower.
        upgrade: Any = cast("dict[str, Any]", self._scope.get("extensions") or {}).get(EXTENSION)
        transport: Transport
        if upgrade is not None:
            lobby.heed(upgrade.stopping)
            patience = Patience(limits.ping, limits.pong, limits.message_seconds, control=limits.send)
            transport = await upgrade.accept(protocol, limit_bytes=size, patience=patience, gate=reservation)
        else:
            await send({"type": "websocket.accept", "subprotocol": protocol, "headers": []})
            transport = AsgiTransport(receive, send, size)
        try:
            await lobby.serve(transport, address, coordinator, reservation)
        finally:
            reservation.release()


async def refuse(scope: WebsocketScope, send: ASGISendCallable, error: DiscoError) -> None:
    """Answer an upgrade with a status and a JSON sentence, where the server can; with 403 where it cannot."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": error.close_code, "reason": str(error)})
        return
    body = json.dumps({"error": str(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in headers_for(error).items()]
    start: dict[str, Any] = {
        "type": "websocket.http.response.start",
        "status": error.http_status,
        "headers": headers,
    }
    await send(cast("ASGISendEvent", start))
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
