"""WebSockets: which task, scheme and dialect a path means, and the ASGI edge.

They do not pass through Quart's WebSocket wrapper: it drops what a client sent just before it left, and costs
memory and time for each connection. `WebsocketEdge` takes its place in the app.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, WebsocketScope

from disco.core.access import Caller, Deed
from disco.core.names import ParticipantID, Scheme
from disco.core.rate import TokenBucket
from disco.errors import DiscoError, SchemeForbidden, Unavailable, UnknownTask
from disco.runtime.budget import Budget, Reservation
from disco.runtime.connection import Connection
from disco.runtime.coordinator import Coordinator
from disco.runtime.directory import Directory
from disco.runtime.patience import Patience
from disco.runtime.poll import Poll
from disco.runtime.transport import Transport
from disco.settings import Settings
from disco.web.access import Gate
from disco.web.asgi_transport import AsgiTransport
from disco.web.door import Door, Place
from disco.web.guests import Guests
from disco.web.hypercorn_seam import EXTENSION
from disco.web.refusals import refuse
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


@dataclass(slots=True)
class Lobby:
    """Lets WebSockets in.

    Args:
        numbers: IDs for peers of the v2 dialect, integers unique on this server.
        gate: decides who may join.
        door: counts who does.
        nursery: lives as long as the lobby.
        watched: those who came with a token.
        poll: receives on connections at rest, where the system can; runs as long as `nursery`.
    """

    directory: Directory
    settings: Settings
    numbers: itertools.count[int]
    budget: Budget
    gate: Gate
    door: Door
    nursery: trio.Nursery
    watched: Guests
    poll: Poll | None = None
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
            ProtocolViolation: the task is not for the dialect that the path tells.
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
        if address.dialect is not None:
            coordinator.require(address.dialect)
        return address, coordinator

    async def serve(self, transport: Transport, guest: Guest, reservation: Reservation) -> None:
        """Serve an accepted WebSocket until either side closes, or the token that let it in is not valid any more."""
        address, coordinator = guest.address, guest.coordinator
        participant: ParticipantID | None = None
        rate = self.settings.limits.messages_per_second
        allow, pace = None, TokenBucket(rate, 2 * rate).take
        if address.scheme is Scheme.DECENTRALIZED:
            limit = self.settings.limits.signals_per_second
            allow = TokenBucket(rate=limit, burst=2 * limit).allow
            if address.dialect is not None:
                participant = ParticipantID(str(next(self.numbers)))
        elif address.client is not None:
            participant = ParticipantID(address.client.lower())
        connection = Connection(
            transport,
            coordinator,
            address.scheme,
            self.settings.limits,
            allow,
            reservation.release,
            pace,
        )
        self.guests += 1
        try:
            if guest.caller is None:
                await connection.serve(participant, address.dialect)
            else:
                with self.watched.inside(guest.caller, connection.send_away):
                    await connection.serve(participant, address.dialect)
        finally:
            self.guests -= 1
            self._left.set()


@dataclass(slots=True)
class Guest:
    """Who was let in.

    Args:
        address: what its path asks for.
        coordinator: who runs that.
        caller: whose token it showed.
        place: among those that are open.
    """

    lobby: Lobby
    address: Address
    coordinator: Coordinator[Any]
    caller: Caller | None
    place: Place

    async def serve(self, transport: Transport, reservation: Reservation) -> None:
        """Serve its WebSocket, and let it leave."""
        try:
            await self.lobby.serve(transport, self, reservation)
        finally:
            reservation.release()
            self.place.leave()


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
        refusal, place = None, None
        try:
            asked = lobby.gate.asked(self._scope)
            place = lobby.door.entered(asked.address, trio.current_time())
            address, coordinator = lobby.find(self._scope["path"])
            caller = lobby.gate.require(Deed.JOIN, asked, lobby.directory.get(address.task).task)
        except DiscoError as error:
            refusal = error
            if place is not None:
                place.leave()
        else:
            guest = Guest(lobby, address, coordinator, caller, place)
            await self._serve((receive, send), guest, asked.protocol)
        if refusal is not None:  # who does not read why takes nobody's place
            log.info("path=%s refused: %s", self._scope["path"][:200], refusal)
            with trio.move_on_after(lobby.settings.limits.send):
                await refuse(self._scope, send, refusal)

    async def _serve(
        self, asgi: tuple[ASGIReceiveCallable, ASGISendCallable], guest: Guest, protocol: str | None
    ) -> None:
        """Accept, and serve until either side closes.

        Args:
            asgi: receive and send.
            guest: who was let in.
            protocol: the subprotocol to accept.
        """
        lobby, (receive, send) = guest.lobby, asgi
        limits = lobby.settings.limits
        size = limits.message_bytes if guest.address.scheme is Scheme.FEDERATED else limits.signal_bytes
        reservation = Reservation(lobby.budget, guest.coordinator.lane)
        # Where the server offers it, Disco's own transport; plain ASGI elsewhere, which is only slower.
        upgrade: Any = cast("dict[str, Any]", self._scope.get("extensions") or {}).get(EXTENSION)
        try:
            if upgrade is not None:
                lobby.heed(upgrade.stopping)
                patience = Patience(limits.ping, limits.pong, limits.message_seconds, control=limits.send)
                transport = await upgrade.accept(
                    protocol, limit_bytes=size, patience=patience, gate=reservation, poll=lobby.poll
                )
                await upgrade.run(partial(guest.serve, transport, reservation), lobby.nursery)
            else:
                await send({"type": "websocket.accept", "subprotocol": protocol, "headers": []})
                await guest.serve(AsgiTransport(receive, send, size), reservation)
        except BaseException:
            guest.place.leave()
            raise
