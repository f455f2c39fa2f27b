"""A peer of a decentralized task: it trains elsewhere, and here it averages with the others, over WebRTC.

    async with Peer("http://127.0.0.1:8080", "titanic", dialect="v4") as peer:
        for _ in range(rounds):
            weights = await peer.exchange(train(weights))

A round either gives every peer the mean over all of its peers, or raises `PeersLost` with the IDs of those who
are missing. Then the connections of that round are closed, so that no late message of it can be taken for one
of the next, and `exchange` may be called again with the same weights.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import trio
from aiortc import RTCConfiguration

from disco.core.aggregation.mean import Mean
from disco.core.events import BecameReady, ConnectionsEstablished, RoundJoined, Signalled
from disco.core.messages import (
    ConnectionsFailed,
    Message,
    PeersForRound,
    RetryConnections,
    Signal,
    StartSharing,
)
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Float32s, Weights
from disco.errors import ConnectionLost, DiscoError, PeersLost, ProtocolViolation, SettingsError
from disco.participant.address import Address
from disco.participant.hub import open_hub
from disco.participant.links import Links
from disco.participant.scope import background
from disco.participant.secure import SecureAggregation, partial_sum, split
from disco.participant.webrtc import IceServer, WebRTC, ice_configuration, open_webrtc
from disco.wire import DIALECTS
from disco.wire.peer import Stage

#: Seconds that leaving may take to get what was said to the other peers.
LINGER_SECONDS = 5.0


class Peer:
    """A full member of a decentralized task, under Trio.

    Only peers of one dialect meet: npm's clients speak v2, today's browsers v4.

    Args:
        url: the server's, as ``http://host:port``.
        task: the task's ID.
        dialect: ``v2``, ``v3`` or ``v4``.
        token: as `disco.participant.Participant` takes it.
        ca: likewise.
        cert: likewise.
        key: likewise.
        secure: how to aggregate securely; None for clear text. All peers of a task must agree.
        ice_servers: STUN and TURN servers; none finds peers on the same machine or network only.
        connect_seconds: that reaching the server may take.
        patience_seconds: that the other peers may take to be ready, which is how long they train.
        exchange_seconds: that connecting to the peers of a round and averaging with them may take.

    Attributes:
        id: our own ID, given by the hub.
        participants: IDs of the last round's peers, our own included.

    Raises:
        SettingsError: an argument cannot be used.
        ConnectionLost: (on entering) the server cannot be reached.
        Refused: (on entering) the server refused, with its reason.
    """

    def __init__(
        self,
        url: str,
        task: str,
        *,
        dialect: str = "v4",
        token: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        secure: SecureAggregation | None = None,
        ice_servers: Sequence[IceServer | str] = (),
        connect_seconds: float = 30.0,
        patience_seconds: float = 600.0,
        exchange_seconds: float = 60.0,
    ) -> None:
        if dialect not in DIALECTS:
            raise SettingsError(f"dialect must be one of {', '.join(DIALECTS)}, not {dialect}")
        self.id = ParticipantID("")
        self.participants: tuple[ParticipantID, ...] = ()
        self._address = Address.parse(url, token, ca, cert, key)
        self._task = TaskID(task)
        self._dialect = DIALECTS[dialect]
        self._secure = secure
        self._ice = ice_configuration(ice_servers)
        self._connect_seconds = connect_seconds
        self._patience_seconds = patience_seconds
        self._exchange_seconds = exchange_seconds
        self._stack = AsyncExitStack()
        self._exchanging = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._hub = await stack.enter_async_context(
                open_hub(self._address, self._task, self._dialect, self._connect_seconds)
            )
            nursery = await stack.enter_async_context(background())
            webrtc = await nursery.start(_keep_webrtc, self._ice)
            nursery.start_soon(self._hub.run, self._take)
            self.id = await self._hub.join(self._connect_seconds)
            self._links = Links(
                webrtc, self._dialect.NAME, self.id, secure=self._secure is not None, send_signal=self._signal
            )
            await self._join_round()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A peer that leaves in peace lets the others have what it said to them.
        linger = LINGER_SECONDS if error is None else 0.0
        with trio.CancelScope(shield=True):
            await self._links.aclose(linger)
        await self._stack.aclose()

    async def exchange(self, weights: Sequence[Any] | Weights) -> list[Float32s]:
        """Average with the peers of the next round.

        Args:
            weights: our own, one array a tensor, shaped alike for all peers.

        Returns:
            The mean over the round's peers, exact to float32's rounding and equal bit for bit at all Python
            peers; with secure aggregation, exact but for the rounding of its shares.

        Raises:
            InvalidUpdate: a value of ours or of a peer's is not finite, or their structures differ.
            MalformedMessage: a peer sent what is no message.
            PeersLost: peers of the round are missing; it may be tried again.
            ConnectionLost: the hub is gone, or nobody else was ready in time.
            ProtocolViolation: the round is too small for secure aggregation, or `exchange` is running already.
            LimitExceeded: the model is too large for a data channel.
        """
        if self._exchanging:
            raise ProtocolViolation("one exchange at a time")
        own = weights if isinstance(weights, Weights) else Weights.from_arrays(weights)
        own.require_finite()
        self._exchanging = True
        try:
            mean = await self._exchange(own)
        finally:
            self._exchanging = False
        with suppress(DiscoError):  # the next exchange says so
            await self._join_round()
        return mean.arrays()

    async def _exchange(self, own: Weights) -> Weights:
        introduced = await self._introduce()
        peers = introduced.peers
        self.participants = self._links.sort((self.id, *peers))
        try:
            self._require_enough()
            with trio.move_on_after(self._exchange_seconds):
                while not await self._connect(peers):
                    self._links.drop(peers)
                    introduced = await self._introduce()
                    peers = introduced.peers
                    self.participants = self._links.sort((self.id, *peers))
                    self._require_enough()
                return await self._share(introduced, own)
            missing = self._links.sort(self._links.awaited)
            raise PeersLost(
                f"the round took longer than {self._exchange_seconds:g} s; missing: {', '.join(missing)}",
                missing,
            )
        except BaseException:
            self._links.drop(peers)
            raise

    def _require_enough(self) -> None:
        """Check the size of our round.

        Raises:
            ProtocolViolation: it is too small for secure aggregation.
        """
        if self._secure is not None and len(self.participants) < self._secure.smallest_round:
            raise ProtocolViolation(
                f"secure aggregation protects nobody in a round of {len(self.participants)} peers; "
                f"it needs {self._secure.smallest_round}"
            )

    async def _introduce(self) -> PeersForRound:
        """Say that we are ready, and wait for the list of peers."""
        # A list that came too late for the last exchange is for a round in which the others count on us.
        if (late := self._hub.waiting(PeersForRound)) is not None:
            return cast("PeersForRound", late)
        await self._hub.send(BecameReady(self.id))
        with trio.move_on_after(self._patience_seconds):
            return cast("PeersForRound", await self._hub.expect(PeersForRound))
        raise ConnectionLost(
            f"no round was formed within {self._patience_seconds:g} s; others may not be ready"
        )

    async def _connect(self, peers: Sequence[ParticipantID]) -> bool:
        """Connect to the peers of our round; tell whether to share now, or to begin again with another list."""
        if self._dialect.NAME != "v4":
            await self._links.opened(peers)
            return True
        # The hub tells when all are connected, and when to try again.
        verdict = await self._verdict(peers)
        if isinstance(verdict, DiscoError):
            raise verdict
        if isinstance(verdict, ConnectionsFailed):
            lost = self._links.sort(self._links.awaited)
            raise PeersLost(f"not all peers of the round could be connected: {', '.join(lost)}", lost)
        return isinstance(verdict, StartSharing)

    async def _verdict(self, peers: Sequence[ParticipantID]) -> Message | DiscoError:
        """Connect, tell the hub, and return what it says to that, or what went wrong before."""
        verdicts: list[Message | DiscoError] = []

        async def attempt(step: Callable[[], Awaitable[Message | None]]) -> None:
            try:
                verdict = await step()
            except DiscoError as error:
                verdicts.append(error)
            else:
                if verdict is None:
                    return
                verdicts.append(verdict)
            nursery.cancel_scope.cancel()

        async def report() -> None:
            # Who left, or began again before we heard that we should, is the hub's to tell.
            with suppress(PeersLost):
                await self._links.opened(peers)
                await self._hub.send(ConnectionsEstablished(self.id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, report)
            nursery.start_soon(
                attempt, partial(self._hub.expect, StartSharing, RetryConnections, ConnectionsFailed)
            )
        return verdicts[0]

    async def _share(self, introduced: PeersForRound, own: Weights) -> Weights:
        swap = partial(self._links.swap, number=introduced.round, structure=own.shapes)
        peers = introduced.peers
        if self._secure is None:
            received = await swap(dict.fromkeys(peers, own), Stage.WEIGHTS)
            return self._mean(received | {self.id: own})
        kept, shares = split(own, len(peers), self._secure.max_share)
        received = await swap(dict(zip(peers, shares, strict=True)), Stage.SHARES)
        held = partial_sum(kept, list(received.values()))
        received = await swap(dict.fromkeys(peers, held), Stage.PARTIAL_SUMS)
        return self._mean(received | {self.id: held})

    def _mean(self, contributions: Mapping[ParticipantID, Weights]) -> Weights:
        """Average in float64 in the order of IDs, so that all peers round the same sum."""
        mean = Mean()
        mean.begin(contributions[self.id])
        for peer in self._links.sort(contributions):
            mean.add(contributions[peer], 1.0)
        return mean.finish()

    async def _join_round(self) -> None:
        """Say that we train for the next round, where the dialect has a word for it."""
        if self._dialect.NAME != "v2":
            await self._hub.send(RoundJoined(self.id))

    async def _signal(self, to: ParticipantID, signal: bytes) -> None:
        await self._hub.send(Signalled(self.id, to, signal))

    def _take(self, message: Message) -> bool:
        """Act on what cannot wait; tell whether that was all."""
        match message:
            case Signal(sender, signal):
                self._links.signal(sender, signal)
                return True
            case PeersForRound(peers):
                self._links.prepare(peers)
        return False


async def _keep_webrtc(
    configuration: RTCConfiguration, task_status: trio.TaskStatus[WebRTC] = trio.TASK_STATUS_IGNORED
) -> None:
    async with open_webrtc(configuration) as webrtc:
        task_status.started(webrtc)
        await trio.sleep_forever()
