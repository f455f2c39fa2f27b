"""The bytes under a WebSocket: received straight into place, sent without joining, with deadlines on waiting only.

A plain socket is read and written with the operating system's vectored calls; Trio is asked only when they would
block. Every other stream (TLS, or a platform without those calls) goes through Trio's own stream interface.

Every read that begins something yields to other tasks, so that of many busy clients each has its turn. Going on with a
large payload yields only once in `YIELD_BYTES`, and so does sending: a task switch costs as much as moving 50 kB.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Protocol, TypeAlias, TypeVar

import trio

from disco.runtime.poll import Poll

Buffer: TypeAlias = bytes | bytearray | memoryview
Result = TypeVar("Result")
Argument = TypeVar("Argument")

#: Received at once, where it is not known yet what the bytes are: first a buffer that malloc has at hand, and after one
#: that came full, one that it maps anew each time, which costs 12 µs.
READ_BYTES = 64 * 1024
FULL_READ_BYTES = 256 * 1024
#: Moved in one direction before other tasks get a turn; about a third of a millisecond.
YIELD_BYTES = 1024 * 1024
#: What one call counts for at least.
CALL_BYTES = 16 * 1024
#: Sent joined below this size: one TLS record instead of several.
JOINED_BYTES = 16 * 1024
#: Queued and not yet on its way, below which the system asks for more. Trio's 16 KiB suits small sends; with a
#: megabyte, sending a gigabyte to a fast reader takes 0.14 s of processor time instead of 0.19, and with two, 32
#: readers get a twelfth more a second. With 16 KiB a sender may stall for as long as a reader delays its ACK, 40 ms: a
#: round of 8 x 1M parameters takes 60 to 80 ms then, and 35 with two megabytes.
QUEUED_BYTES = 2 * 1024 * 1024
#: Parts that one call may name: Linux takes 1,024 (IOV_MAX).
MOST_PARTS = 512
#: Close with RST: what is still queued is dropped, and nothing lingers.
NO_LINGER = struct.pack("ii", 1, 0)

#: What every method of a byte stream raises once the connection is lost.
LOST = (trio.BrokenResourceError, trio.ClosedResourceError)


class ByteStream(Protocol):
    """One connection's bytes. One task reads, one writes; either may be cancelled while it waits.

    Every method but the last raises one of `LOST` once the connection is lost.
    """

    async def read(self, patience: float = inf) -> bytes:
        """Return what has arrived, at most `FULL_READ_BYTES`; nothing at the end.

        Raises:
            trio.TooSlowError: nothing came for `patience` seconds.
        """

    async def read_into(self, target: memoryview, patience: float = inf) -> int:
        """Receive into the beginning of `target` and return how many bytes; 0 at the end.

        Raises:
            trio.TooSlowError: nothing came for `patience` seconds.
        """

    async def write(self, *parts: Buffer) -> None:
        """Send the parts, one after the other. After a cancellation it is not known how much was sent."""

    def write_now(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Send what can be sent without waiting, and return the rest: `parts` itself if that is all of it."""

    async def finish_writing(self) -> None:
        """Tell the other side that nothing more comes, where the stream can."""

    async def close(self) -> None:
        """Close in good order."""

    async def abort(self) -> None:
        """Close at once and drop what has not been sent."""


def over(stream: trio.abc.Stream) -> ByteStream:
    """Return the fastest byte stream for a connection."""
    if isinstance(stream, trio.SocketStream) and hasattr(os, "readv") and hasattr(os, "writev"):
        return SocketBytes(stream)
    return StreamBytes(stream)


class SocketBytes:
    """A plain TCP connection."""

    __slots__ = ("_full", "_poll", "_received", "_sent", "_socket", "_stream")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._use(stream)
        self._received = self._sent = 0  # since the last yield
        self._full = False  # the last read was
        self._poll: Poll | None = None  # while the reader waits there

    def _use(self, stream: trio.SocketStream) -> None:
        """Take a stream, whose making has set the socket's options to Trio's own."""
        self._stream, self._socket = stream, stream.socket
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with suppress(OSError):  # not TCP, or gone already: whoever reads will learn it
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, QUEUED_BYTES)

    def detach(self) -> None:
        """Go on with a descriptor of its own, while nobody reads or writes: whoever opened the stream may close it."""
        self._use(trio.SocketStream(self._socket.dup()))

    async def read(self, patience: float = inf) -> bytes:
        """See `ByteStream.read`."""
        self._received = YIELD_BYTES
        return await self._receive(self.read_now, len, patience)

    def read_now(self) -> bytes | None:
        """Return what has arrived, at most `FULL_READ_BYTES`; None if that is nothing yet, nothing at the end."""
        room = FULL_READ_BYTES if self._full else READ_BYTES
        data = self._try(os.read, room)
        if data is not None:
            self._full = len(data) == room
        return data

    async def rest(self, poll: Poll, ready: Callable[[], bool]) -> None:
        """Let `poll` call `ready`, which is to `read_now`, whenever something has arrived, until it returns False."""
        self._poll = poll
        try:
            await poll.wait(self._descriptor(), ready)
        finally:
            self._poll = None

    async def read_into(self, target: memoryview, patience: float = inf) -> int:
        """See `ByteStream.read_into`."""
        return await self._receive(lambda: self._try(os.readv, (target,)), int, patience)

    async def _receive(
        self, receive: Callable[[], Result | None], size: Callable[[Result], int], patience: float
    ) -> Result:
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while (received := receive()) is None:
            waited = True
            if patience == inf:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            # `fail_after` without its generator: most connections are idle, and wait here.
            with trio.CancelScope(deadline=trio.current_time() + patience) as waiting:
                await trio.lowlevel.wait_readable(self._socket)
            if waiting.cancelled_caught:
                raise trio.TooSlowError
        self._received = 0 if waited else self._received + max(size(received), CALL_BYTES)
        if self._received >= YIELD_BYTES:
            self._received = 0
            # Shielded: a cancellation here would lose what was received.
            await trio.lowlevel.cancel_shielded_checkpoint()
        return received

    async def write(self, *parts: Buffer) -> None:
        """See `ByteStream.write`."""
        if self._sent >= YIELD_BYTES:
            self._sent = 0
            await trio.lowlevel.checkpoint()
        pending: Sequence[Buffer] = parts
        while pending:
            rest = self.write_now(pending)
            if rest is pending:
                self._sent = 0
                await trio.lowlevel.wait_writable(self._socket)
            pending = rest

    def write_now(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """See `ByteStream.write_now`. Sends once."""
        count = self._try(os.writev, parts[:MOST_PARTS])
        if count is None:
            return parts
        self._sent += max(count, CALL_BYTES)
        return _unsent(parts, count)

    def _try(self, call: Callable[[int, Argument], Result], argument: Argument) -> Result | None:
        """Make a system call on the socket; None where it would have to wait."""
        try:
            return call(self._descriptor(), argument)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection is closed")
        return descriptor

    async def finish_writing(self) -> None:
        """See `ByteStream.finish_writing`."""
        await self._stream.send_eof()

    async def close(self) -> None:
        """See `ByteStream.close`."""
        self._wake_reader()
        await self._stream.aclose()

    async def abort(self) -> None:
        """See `ByteStream.abort`."""
        self._wake_reader()
        with suppress(OSError):  # closed already
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        await trio.aclose_forcefully(self._stream)

    def _wake_reader(self) -> None:
        if self._poll is not None:
            self._poll.leave(self._socket.fileno())


def _unsent(parts: Sequence[Buffer], sent: int) -> Sequence[Buffer]:
    """Return what remains of the parts after their first `sent` bytes."""
    for index, part in enumerate(parts):
        if sent < len(part):
            return (memoryview(part)[sent:], *parts[index + 1 :])
        sent -= len(part)
    return ()


class StreamBytes:
    """Any stream of Trio's: TLS above all."""

    __slots__ = ("_stream",)

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, patience: float = inf) -> bytes:
        """See `ByteStream.read`."""
        return await self._receive(FULL_READ_BYTES, patience)

    async def read_into(self, target: memoryview, patience: float = inf) -> int:
        """See `ByteStream.read_into`."""
        data = await self._receive(min(len(target), FULL_READ_BYTES), patience)
        target[: len(data)] = data
        return len(data)

    async def _receive(self, size: int, patience: float) -> bytes:
        if patience == inf:
            return bytes(await self._stream.receive_some(size))
        with trio.fail_after(patience):
            return bytes(await self._stream.receive_some(size))

    async def write(self, *parts: Buffer) -> None:
        """See `ByteStream.write`."""
        if sum(map(len, parts)) <= JOINED_BYTES:
            parts = (b"".join(parts),)
        for part in parts:
            await self._stream.send_all(part)

    def write_now(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """See `ByteStream.write_now`; other streams cannot send without waiting."""
        return parts

    async def finish_writing(self) -> None:
        """See `ByteStream.finish_writing`; a TLS stream cannot be closed by half."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def close(self) -> None:
        """See `ByteStream.close`."""
        await self._stream.aclose()

    async def abort(self) -> None:
        """See `ByteStream.abort`."""
        await trio.aclose_forcefully(self._stream)
