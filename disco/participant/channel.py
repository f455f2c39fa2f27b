"""One WebRTC data channel, in Trio's terms: negotiated as simple-peer does, and framed as DISCO's clients do.

Signals are simple-peer's: ``{type: "offer" | "answer", sdp}`` and ``{type: "candidate", candidate: {candidate,
sdpMLineIndex, sdpMid}}``. We accept candidates that trickle in, and send all of ours inside the description.

Source: DISCO wire, peer data channels; simple-peer 9, ``signal``.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import trio
import trio_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from disco.errors import ConnectionLost, DiscoError, MalformedMessage
from disco.wire.peer import MAX_CHUNKS, Joiner, cut

logger = logging.getLogger("disco.participant")

#: What a peer may receive in one piece when its description does not say (RFC 8841, section 6.1).
DEFAULT_MESSAGE_BYTES = 65_536
#: What we receive in one piece, and so send: aiortc's own ``a=max-message-size``.
LARGEST_CHUNK_BYTES = 262_144
#: Bytes handed to the channel and not on their way; more wait in our own memory.
BUFFERED_BYTES = 1 << 20
#: Whole messages that wait for the round to take them; a peer is at most one round ahead, of two stages.
WAITING_MESSAGES = 8
#: Signals that wait to be looked at: a description, and one candidate for each address and kind.
WAITING_SIGNALS = 256
#: Seconds that closing a connection may take.
CLOSE_SECONDS = 2.0

_MAX_MESSAGE_SIZE = re.compile(r"a=max-message-size:(\d+)")

SendSignal = Callable[[Mapping[str, Any]], Awaitable[None]]


class DataChannel:
    """One data channel to one peer, from the first signal to its end.

    Made by `disco.participant.webrtc.WebRTC.open_channel`, which runs it. The side that makes the offer sends a
    signal at once, the other waits for one.

    Attributes:
        closed: set once no more will come: either side closed, or the connection failed.
    """

    def __init__(
        self, loop: trio_asyncio.TrioEventLoop, configuration: RTCConfiguration, chunk_bytes: int
    ) -> None:
        self.closed = trio.Event()
        self._settled = trio.Event()
        self._finished = trio.Event()
        self._loop = loop
        self._configuration = configuration
        self._chunk_bytes = chunk_bytes
        self._joiner = Joiner(MAX_CHUNKS * LARGEST_CHUNK_BYTES)
        self._messages_in, self._messages = trio.open_memory_channel[bytes](WAITING_MESSAGES)
        self._signals_in, self._signals = trio.open_memory_channel[Mapping[str, Any]](WAITING_SIGNALS)
        self._connection: Any = None
        self._channel: Any = None
        self._low = asyncio.Event()
        self._sent = 0

    # ── What Trio sees ───────────────────────────────────────────────────────────────────────────────────

    def signal(self, signal: Mapping[str, Any]) -> None:
        """Take in a signal of the other peer; what makes no sense closes the channel."""
        try:
            self._signals_in.send_nowait(signal)
        except trio.WouldBlock:
            self._end("it sends signals faster than they can be followed")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("signal for a channel that is closed")

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._settled.is_set() and not self.closed.is_set()

    async def wait_open(self) -> None:
        """Return once messages can be sent.

        Raises:
            ConnectionLost: the channel is closed.
        """
        await self._settled.wait()
        if self.closed.is_set():
            raise ConnectionLost("the channel is closed")

    async def send(self, message: bytes) -> None:
        """Send one message; returns when the last chunk is on its way.

        Raises:
            ConnectionLost: the channel is closed.
            LimitExceeded: the message is larger than the framing allows.
        """
        await self._run(self._send(message))

    async def receive(self) -> bytes:
        """Return the next message, in the order sent. Those that came before the end are returned first.

        Raises:
            ConnectionLost: the channel is closed.
        """
        try:
            return await self._messages.receive()
        except trio.EndOfChannel as error:
            raise ConnectionLost("the channel is closed") from error

    async def drain(self) -> None:
        """Return when the other side has acknowledged everything, or is gone."""
        if self.is_open:
            await self._run(self._drain())

    def abandon(self) -> None:
        """Close the channel; what is still on its way is lost."""
        self._end("we closed it")

    async def aclose(self) -> None:
        """Close the channel, and return when that is done."""
        self.abandon()
        await self._finished.wait()

    async def run(self, initiator: bool, send_signal: SendSignal) -> None:
        """Make the offer if `initiator`, follow the other's signals until the end, and close the connection."""
        try:
            if initiator:
                await send_signal(await self._run(self._offer()))
            async for signal in self._signals:
                answer = await self._run(self._follow(signal))
                if answer is not None:
                    await send_signal(answer)
        except DiscoError as error:
            self._end(str(error))
        finally:
            self._end("its owner is gone")
            with trio.move_on_after(CLOSE_SECONDS, shield=True), suppress(ConnectionLost):
                if self._connection is not None:
                    await self._run(self._connection.close())
            self._finished.set()

    async def _run(self, coroutine: Any) -> Any:
        # Sockets that aiortc opens remember the context, and look in it for their loop.
        token = trio_asyncio.current_loop.set(self._loop)
        try:
            return await self._loop.run_aio_coroutine(coroutine)
        except DiscoError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            # aiortc raises whatever its parsers trip over, and cancels its own tasks when it closes.
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ConnectionLost(f"the channel failed: {reason}") from error
        finally:
            trio_asyncio.current_loop.reset(token)

    # ── What asyncio sees ────────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> Any:
        if self._connection is None:
            connection = self._connection = RTCPeerConnection(self._configuration)

            def follow_state() -> None:
                if connection.connectionState in ("failed", "closed"):
                    self._end(f"the connection {connection.connectionState}")

            connection.on("connectionstatechange", follow_state)
            connection.on("datachannel", self._adopt)
        return self._connection

    def _adopt(self, channel: Any) -> None:
        self._channel = channel
        channel.bufferedAmountLowThreshold = BUFFERED_BYTES // 2
        channel.on("message", self._take)
        channel.on("bufferedamountlow", self._low.set)
        channel.on("close", lambda: self._end("the other side closed it"))
        channel.on("open", self._settled.set)
        if channel.readyState == "open":
            self._settled.set()

    async def _offer(self) -> Mapping[str, Any]:
        connection = self._connect()
        self._adopt(connection.createDataChannel("disco"))
        await connection.setLocalDescription(await connection.createOffer())
        return {"type": "offer", "sdp": connection.localDescription.sdp}

    async def _follow(self, signal: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match signal:
            case {"type": "offer" | "answer" as kind, "sdp": str(sdp)}:
                return await self._describe(kind, sdp)
            case {"candidate": {"candidate": str(line)}}:
                await self._reach(line, signal["candidate"])
            case _:
                # simple-peer also negotiates media, of which there is none here.
                logger.debug("signal of type %s passed over", signal.get("type"))
        return None

    async def _describe(self, kind: str, sdp: str) -> Mapping[str, Any] | None:
        limit = _MAX_MESSAGE_SIZE.search(sdp)
        # 0 stands for "any size" (RFC 8841, section 6.1).
        size = (int(limit[1]) if limit else DEFAULT_MESSAGE_BYTES) or LARGEST_CHUNK_BYTES
        self._chunk_bytes = min(self._chunk_bytes, size)
        connection = self._connect()
        await connection.setRemoteDescription(RTCSessionDescription(sdp, kind))
        if connection.sctp is None:
            raise ConnectionLost("the other's description has no data channel")
        if kind == "answer":
            return None
        await connection.setLocalDescription(await connection.createAnswer())
        return {"type": "answer", "sdp": connection.localDescription.sdp}

    async def _reach(self, line: str, place: Mapping[str, Any]) -> None:
        """Try an address of the other peer. An unusable one is passed over: others may work."""
        if not line:
            return
        try:
            candidate = candidate_from_sdp(line.removeprefix("candidate:"))
            candidate.sdpMid, candidate.sdpMLineIndex = place.get("sdpMid"), place.get("sdpMLineIndex")
            await self._connect().addIceCandidate(candidate)
        except Exception as error:
            logger.debug("candidate passed over: %s", error)

    async def _send(self, message: bytes) -> None:
        for chunk in cut(message, self._sent, self._chunk_bytes):
            while self._channel.bufferedAmount > BUFFERED_BYTES and not self.closed.is_set():
                self._low.clear()
                await self._low.wait()
            self._channel.send(chunk)
        self._sent += 1

    async def _drain(self) -> None:
        # aiortc counts a chunk as sent when it is cut into packets; these hold what is not acknowledged yet.
        queues = ("_outbound_queue", "_sent_queue")
        while not self.closed.is_set() and (  # noqa: ASYNC110 - aiortc has no event for it
            self._channel.bufferedAmount
            or any(getattr(self._channel.transport, name, None) for name in queues)
        ):
            await asyncio.sleep(0.01)

    def _take(self, chunk: bytes | str) -> None:
        """Join chunks; a peer that sends nonsense, or more than a round has, is cut off."""
        try:
            message = self._joiner.feed(chunk if isinstance(chunk, bytes) else chunk.encode())
            if message is not None:
                self._messages_in.send_nowait(message)
        except MalformedMessage as error:
            self._end(str(error))
        except trio.WouldBlock:
            self._end(f"more than {WAITING_MESSAGES} messages wait")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("message on a channel that is closed")

    def _end(self, reason: str) -> None:
        """Note the end, once; whoever waits for messages or signals is woken."""
        if not self.closed.is_set():
            logger.debug("channel closed: %s", reason)
            self.closed.set()
            self._settled.set()
            self._low.set()
            self._messages_in.close()
            self._signals_in.close()
