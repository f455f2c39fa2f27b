"""WebSockets over HTTP/2 (RFC 8441) on the frame layer that all others use, with the same limits.

hypercorn reads a connection for all of its streams, and hands each the bytes of its own. It goes on when they have
been taken: so a WebSocket that is not read holds up the others of its connection, and no memory fills.

Private names of hypercorn are used here and in `hypercorn_seam`, which checks them before it imports this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import trio
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Event, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.tcp_server import TCPServer

from disco.runtime.byte_stream import LOST, Buffer, ByteStream
from disco.web.hypercorn_stream import Serve, UpgradableStream

#: Handed to hypercorn at once; it holds back the next until about as much has been sent.
PIECE_BYTES = 16 * 1024
#: That a client may take to make room for the last bytes.
FINISH_SECONDS = 5.0


class H2Bytes:
    """A `ByteStream` over one stream of an HTTP/2 connection."""

    def __init__(
        self, connection: trio.abc.Stream, send: Callable[[Event], Awaitable[None]], stream_id: int
    ) -> None:
        """Begin with nothing received.

        Args:
            connection: under all the streams.
            send: takes hypercorn's events.
            stream_id: of those that are sent.
        """
        self._connection = connection
        self._send = send
        self._stream_id = stream_id
        self._arriving, self._arrived = trio.open_memory_channel[bytes](0)
        self._rest = b""
        self._lost = False

    async def feed(self, data: bytes) -> None:
        """Take what was received; returns when it has been read, or never will be."""
        try:
            if data:
                await self._arriving.send(data)
        except LOST:
            return

    def end(self, *, lost: bool) -> None:
        """Learn that nothing more will be received; `lost` says that nothing can be sent either."""
        self._lost = self._lost or lost
        self._arriving.close()

    async def read(self, patience: float = inf) -> bytes:
        """See `ByteStream.read`."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        try:
            with trio.fail_after(patience):
                return await self._arrived.receive()
        except trio.EndOfChannel:
            return b""

    async def read_into(self, target: memoryview, patience: float = inf) -> int:
        """See `ByteStream.read_into`."""
        data = await self.read(patience)
        count = min(len(data), len(target))
        target[:count] = data[:count]
        self._rest = data[count:]
        return count

    async def write(self, *parts: Buffer) -> None:
        """See `ByteStream.write`."""
        for part in parts:
            view = memoryview(part).cast("B")
            for start in range(0, len(view), PIECE_BYTES):
                if self._lost:
                    raise trio.BrokenResourceError("the stream has ended")
                await self._send(Data(self._stream_id, bytes(view[start : start + PIECE_BYTES])))

    def write_now(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """See `ByteStream.write_now`: hypercorn's windows may have to be waited for."""
        return parts

    async def finish_writing(self) -> None:
        """See `ByteStream.finish_writing`; returns when what was written is on its way, or cannot be soon."""
        with trio.move_on_after(FINISH_SECONDS):
            await self._send(EndData(self._stream_id))

    async def close(self) -> None:
        """See `ByteStream.close`. The connection stays, for its other streams."""
        self._arrived.close()
        await self.finish_writing()
        await self._send(StreamClosed(self._stream_id))

    async def abort(self) -> None:
        """See `ByteStream.abort`. It ends the whole connection: who takes nothing has stopped its other streams too."""
        self._lost = True
        self._arrived.close()
        await trio.aclose_forcefully(self._connection)


@dataclass(frozen=True, slots=True)
class H2Origin:
    """The stream that a request came by."""

    stream: H2Bytes

    def give(self) -> tuple[ByteStream, bytes]:
        """Return the stream; nothing of it has been received yet."""
        return self.stream, b""


class H2Stream(UpgradableStream):
    """A request for a WebSocket over HTTP/2."""

    _taken = False

    async def handle(self, event: Event) -> None:
        """See the base class; once the app takes the stream over, its bytes are the app's."""
        origin = self._origin
        if not self._taken or not isinstance(origin, H2Origin):
            await WSStream.handle(self, event)
        elif isinstance(event, Body | Data):
            await origin.stream.feed(event.data)
        elif isinstance(event, EndBody | StreamClosed):
            origin.stream.end(lost=isinstance(event, StreamClosed))

    async def run(self, serve: Serve, nursery: trio.Nursery) -> None:
        """See the base class; the connection's own task reads for all its streams, so this is the app's to do."""
        await serve()

    async def take_over(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[ByteStream, bytes]:
        """See the base class. A client may send as soon as it has the answer, before this returns."""
        self._taken = True
        return await super().take_over(subprotocol, headers)

    def find_origin(self) -> H2Origin | None:
        """Find the connection behind this stream; None under another worker than Trio's."""
        protocol = getattr(self.send, "__self__", None)
        server = getattr(getattr(protocol, "send", None), "__self__", None)
        if not (isinstance(protocol, H2Protocol) and isinstance(server, TCPServer)):
            return None
        return H2Origin(H2Bytes(server.stream, self.send, self.stream_id))
