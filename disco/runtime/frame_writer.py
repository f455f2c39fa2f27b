"""What a server sends on a WebSocket, one whole frame after the other.

A frame must not be cut by another, so whoever writes takes the *turn*, and passes it on to whoever waited first. A
pong that falls due while somebody else has it is left in a slot and goes out at the end of that turn; only the latest
is kept there, which is all that RFC 6455, section 5.5.3 asks for.

After a frame that was cut by a cancellation the client could not read what follows, so the connection is aborted.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from disco.runtime.byte_stream import LOST, Buffer, ByteStream
from disco.runtime.frames import BINARY, PING, PONG, TEXT, encode_close, encode_header
from disco.runtime.transport import Sent
from disco.wire.dialect import length


class FrameWriter:
    """The sending half of a WebSocket. Silent once the connection is lost, or the close frame is out.

    Args:
        stream: the connection.
        control_seconds: that a client may take to accept a ping or a pong before it is given up.
    """

    def __init__(self, stream: ByteStream, control_seconds: float) -> None:
        self._stream = stream
        self._control_seconds = control_seconds
        self._turn = trio.lowlevel.ParkingLot()  # whoever waits for it
        self._pong: bytes | None = None  # due, and not yet sent
        self._rest: Sequence[Buffer] = ()  # of what was begun without waiting; it has the turn
        self._lost = False
        self.busy = False  # somebody has the turn
        self.closing = False  # the close frame is out, or about to be

    async def message(self, data: Buffer | tuple[Buffer, ...], *, text: bool) -> None:
        """Send one message, in pieces or whole, as one frame; header and payload are not copied."""
        pieces = data if isinstance(data, tuple) else (data,)
        await self._write(encode_header(TEXT if text else BINARY, length(pieces)), *pieces)

    def messages_now(self, messages: Sequence[Buffer]) -> Sent:
        """Send messages as far as that needs no waiting; after a part, `flush` sends the rest."""
        if self._lost or self.closing:
            return Sent.ALL
        if self.busy:
            return Sent.NOTHING
        parts: list[Buffer] = []
        for data in messages:
            parts += (encode_header(BINARY, memoryview(data).nbytes), data)
        try:
            rest = self._stream.write_now(parts)
        except LOST:
            self._lost = True
            return Sent.ALL
        if rest is parts:
            return Sent.NOTHING
        self._rest = rest
        self.busy = bool(rest)
        return Sent.PART if rest else Sent.ALL

    async def flush(self) -> None:
        """Send the rest of what `messages_now` has begun, if there is any."""
        rest, self._rest = self._rest, ()
        if rest:
            await self._finish(rest)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        with trio.move_on_after(self._control_seconds):
            await self._write(encode_header(PING, 0))

    async def pong(self, payload: bytes) -> None:
        """Answer a ping: now, or at the end of the turn that somebody has."""
        self._pong = payload
        if not self.busy:
            with trio.move_on_after(self._control_seconds):
                await self._write()

    async def close(self, code: int, reason: str, seconds: float) -> None:
        """Send the close frame, once; abort the connection if it cannot be sent in `seconds`."""
        if self.closing:
            return
        self.closing = True
        with trio.move_on_after(seconds) as patience:
            await self._write(encode_close(code, reason), closing=True)
        if patience.cancelled_caught:
            await self._abort()

    async def _write(self, *parts: Buffer, closing: bool = False) -> None:
        """Take the turn, write one frame, and the pong that is due, if any."""
        if self.busy:
            await self._turn.park()  # whoever ends its turn passes it on
        self.busy = True
        await self._finish(() if self._lost or (self.closing and not closing) else parts)

    async def _finish(self, parts: Sequence[Buffer]) -> None:
        """Write, having the turn, and then the pong that is due; pass the turn on."""
        try:
            if parts:
                await self._stream.write(*parts)
            while self._pong is not None and not self.closing and not self._lost:
                pong, self._pong = self._pong, None
                await self._stream.write(encode_header(PONG, len(pong)) + pong)
        except LOST:
            self._lost = True  # what the client had sent before may still be received
        except BaseException:
            await self._abort()
            raise
        finally:
            if self._turn:
                self._turn.unpark()
            else:
                self.busy = False

    async def _abort(self) -> None:
        self._lost = True
        await self._stream.abort()
