"""The data channels of one peer: kept between rounds, replaced when broken, and what goes over them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import msgpack
import trio

from disco.core.names import ParticipantID
from disco.core.weights import Structure, Weights
from disco.errors import ConnectionLost, DiscoError, PeersLost, ProtocolViolation
from disco.participant.channel import LARGEST_CHUNK_BYTES, DataChannel, SendSignal
from disco.wire.peer import V2_CHUNK_BYTES, PeerMessage, Stage, decode, encode

logger = logging.getLogger("disco.participant")

#: Seconds before an offer to one of v2's peers. npm's client reads who is in its round before it takes that in, and
#: ends when a signal comes between: "received signal for unknown peer".
V2_OFFER_SECONDS = 0.1

Signaller = Callable[[ParticipantID, bytes], Awaitable[None]]


class Channels(Protocol):
    """What makes data channels: `disco.participant.webrtc.WebRTC`."""

    def open_channel(self, *, initiator: bool, chunk_bytes: int, send_signal: SendSignal) -> DataChannel:
        """Begin a channel to one peer."""


class Links:
    """A data channel to every peer met so far.

    `prepare` and `signal` never wait, so that signals find their channel in the order in which the hub sent them.

    Args:
        channels: makes data channels.
        dialect: ``v2``, ``v3`` or ``v4``.
        own: our own ID.
        secure: whether rounds aggregate securely.
        send_signal: carries one to a peer, as raw msgpack.

    Attributes:
        awaited: peers that keep us from going on; empty while nothing is under way.
    """

    def __init__(
        self, channels: Channels, dialect: str, own: ParticipantID, *, secure: bool, send_signal: Signaller
    ) -> None:
        self.awaited: set[ParticipantID] = set()
        self._channels = channels
        self._dialect = dialect
        self._own = own
        self._secure = secure
        self._send_signal = send_signal
        self._links: dict[ParticipantID, DataChannel] = {}
        self._fresh: set[ParticipantID] = set()

    def sort(self, peers: Iterable[ParticipantID]) -> tuple[ParticipantID, ...]:
        """Order IDs as every peer of this dialect does: v2's by number, others' as text."""
        return tuple(sorted(peers, key=self._order))

    def _order(self, peer: ParticipantID) -> tuple[int, str]:
        return (int(peer), "") if self._dialect == "v2" else (0, peer)

    # ── Connecting ───────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, peers: Iterable[ParticipantID]) -> None:
        """See to it that there is a channel to each peer of a round, open or about to be."""
        self._links = {peer: link for peer, link in self._links.items() if not link.closed.is_set()}
        for peer in peers:
            if peer not in self._links:
                self._begin(peer)

    def _begin(self, peer: ParticipantID) -> DataChannel:
        """Begin a channel. The peer with the larger ID makes the offer."""

        async def send_signal(signal: Mapping[str, Any]) -> None:
            if self._dialect == "v2" and signal.get("type") == "offer":
                await trio.sleep(V2_OFFER_SECONDS)
            await self._send_signal(peer, msgpack.packb(signal))

        link = self._links[peer] = self._channels.open_channel(
            initiator=self._order(self._own) > self._order(peer),
            chunk_bytes=V2_CHUNK_BYTES if self._dialect == "v2" else LARGEST_CHUNK_BYTES,
            send_signal=send_signal,
        )
        self._fresh.add(peer)
        return link

    def signal(self, sender: ParticipantID, encoded: bytes) -> None:
        """Hand a signal to the channel that it is for; an offer for a used one begins another."""
        try:
            signal = msgpack.unpackb(encoded, strict_map_key=False)
        except (ValueError, msgpack.UnpackException) as error:
            logger.debug("signal passed over: %s", error)
            return
        link = self._links.get(sender)
        if link is None or not isinstance(signal, dict):
            logger.debug("signal passed over: from a stranger, or no map")
            return
        if signal.get("type") == "offer":
            if sender not in self._fresh:
                link.abandon()
                link = self._begin(sender)
            self._fresh.discard(sender)
        link.signal(signal)

    async def opened(self, peers: Sequence[ParticipantID]) -> None:
        """Return when the channels to all these are open.

        Raises:
            PeersLost: one was closed instead.
        """
        await self._together((peer, partial(self._open, peer)) for peer in peers)

    async def _open(self, peer: ParticipantID) -> None:
        link = self._links[peer]
        try:
            await link.wait_open()
        except ConnectionLost:
            if self._links.get(peer) is link:
                raise
            await self._open(peer)  # an offer began another
            return
        self.awaited.discard(peer)

    def drop(self, peers: Iterable[ParticipantID]) -> None:
        """Close the channels to these, without waiting."""
        for peer in peers:
            if (link := self._links.pop(peer, None)) is not None:
                link.abandon()

    async def aclose(self, linger_seconds: float) -> None:
        """Close all channels, once what we said has arrived or `linger_seconds` have passed."""

        async def close(link: DataChannel) -> None:
            with trio.move_on_after(linger_seconds), suppress(ConnectionLost):
                await link.drain()
            await link.aclose()

        async with trio.open_nursery() as nursery:
            for link in self._links.values():
                nursery.start_soon(close, link)
        self._links.clear()

    # ── Sharing ──────────────────────────────────────────────────────────────────────────────────────────

    async def swap(
        self, outgoing: Mapping[ParticipantID, Weights], stage: Stage, number: int, structure: Structure
    ) -> dict[ParticipantID, Weights]:
        """Give every peer of a round its weights, and get one's from each.

        Args:
            outgoing: for each peer.
            stage: what all give.
            number: the round's.
            structure: what all must have.

        Raises:
            PeersLost: a peer left before it gave us its own.
            InvalidUpdate: a peer's weights are not finite, or of another structure.
            MalformedMessage: a peer sent what is no message.
            ProtocolViolation: a peer is in another stage.
            LimitExceeded: ours are too large for a data channel.
        """
        received: dict[ParticipantID, Weights] = {}

        async def give(peer: ParticipantID) -> None:
            message = PeerMessage(stage, peer, outgoing[peer], number)
            # Who leaves after it gave us its own is missed in the next round, not in this.
            with suppress(ConnectionLost):
                await self._links[peer].send(encode(message, self._dialect))

        async def get(peer: ParticipantID) -> None:
            weights = await self._receive(peer, stage, number)
            weights.require_structure(structure)
            weights.require_finite()
            received[peer] = weights
            self.awaited.discard(peer)

        await self._together((peer, partial(job, peer)) for peer in outgoing for job in (give, get))
        return received

    async def _receive(self, peer: ParticipantID, stage: Stage, number: int) -> Weights:
        while True:
            message = decode(await self._links[peer].receive(), self._dialect, secure=self._secure)
            if message.round is not None and message.round < number:
                logger.debug("message of round %d passed over in round %d", message.round, number)
            elif message.stage is not stage:
                found, wanted = (name.name.lower().replace("_", " ") for name in (message.stage, stage))
                raise ProtocolViolation(
                    f"it sent {found} where {wanted} are due; do both aggregate securely?"
                )
            else:
                return message.weights

    async def _together(self, jobs: Iterable[tuple[ParticipantID, Callable[[], Awaitable[None]]]]) -> None:
        """Do something with every peer at once; the first failure ends it and is raised with the peer's name."""
        lost: list[ParticipantID] = []
        faults: list[tuple[ParticipantID, DiscoError]] = []
        todo = list(jobs)
        self.awaited = {peer for peer, _ in todo}

        async def do(peer: ParticipantID, job: Callable[[], Awaitable[None]]) -> None:
            try:
                await job()
            except ConnectionLost:
                lost.append(peer)
            except DiscoError as error:
                faults.append((peer, error))
            else:
                return
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for peer, job in todo:
                nursery.start_soon(do, peer, job)
        for peer, error in faults:
            raise type(error)(f"peer {peer}: {error}") from error
        if lost:
            raise PeersLost(f"peers {', '.join(self.sort(lost))} left the round", self.sort(lost))
