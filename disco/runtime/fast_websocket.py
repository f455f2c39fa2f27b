"""The server's end of a WebSocket directly on its connection: a `Transport` near the speed of the wire.

One task receives, one sends, either closes:

    receive <── FrameReader <──┐
                               ├── ByteStream ── the client
    send, close ─> FrameWriter ┘

Receiving answers control frames. While small messages come that can be dealt with at once, the task that receives
sleeps, and a `Poll` reads.

The end comes in two steps. *Closing*: our close frame is out; nothing more is sent, and what still arrives is
dropped. *Over*: the connection is closed, `receive` returns None and `send` does nothing.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf

import trio

from disco.errors import DiscoError, ProtocolViolation, TextMessage
from disco.runtime.admission import Admission, Gate
from disco.runtime.byte_stream import LOST, Buffer, ByteStream, SocketBytes
from disco.runtime.frame_reader import FrameReader
from disco.runtime.frame_writer import FrameWriter
from disco.runtime.frames import Close, Event, Message, Ping, Pong
from disco.runtime.patience import Patience, Vigil
from disco.runtime.poll import Poll
from disco.runtime.transport import AtOnce, Received, Sent

#: A missing rest from this size on is received straight into its message; below, together with what follows it.
DIRECT_BYTES = 64 * 1024


class FastWebSocket:
    """An accepted WebSocket; see `Transport` for what its callers may rely on.

    Args:
        stream: the connection, after the upgrade was answered.
        limit_bytes: of one message that is received.
        rest: what was received behind the client's upgrade request.
        patience: with the client.
        gate: asked before the rest of a payload of `DIRECT_BYTES` or more is received.
        poll: receives while this connection is at rest; None if there is none.
    """

    def __init__(
        self,
        stream: ByteStream,
        limit_bytes: int,
        *,
        rest: bytes = b"",
        patience: Patience | None = None,
        gate: Gate | None = None,
        poll: Poll | None = None,
    ) -> None:
        self._stream = stream
        self._poll = poll
        self._reader = FrameReader(limit_bytes)
        self._reader.feed(rest)
        self._patience = patience or Patience()
        self._vigil = Vigil(self._patience)
        self._writer = FrameWriter(stream, self._patience.control)
        self._admission = Admission(gate)
        self._ended = trio.Event()
        self._receiving = False
        self._unreadable = False  # after an error in what was received
        self._at_once: AtOnce | None = None  # what deals with messages without waiting
        self._sleeps_until = inf
        self._woken_by: Event | Exception | None = None
        self._undealt: Message | None = None  # woken by this one, which could not be dealt with

    async def receive(self, at_once: AtOnce | None = None) -> Received | None:
        """See `Transport.receive`.

        Raises:
            ProtocolViolation: a text message, bytes that are not frames, or a message that took too long. The
                close frame that says so has been sent.
            LimitExceeded: a message over the limit; likewise.
        """
        message = await self.receive_message(at_once)
        if message is None:
            return None
        if message.text:
            await self._refuse(TextMessage("a text frame came where every message is binary msgpack"))
        return message.data

    async def receive_message(self, at_once: AtOnce | None = None) -> Message | None:
        """Return the next whole message, text or binary, or None when the other side is gone.

        Binary ones may be dealt with at once, as by `receive`.

        Cancelled while it waits, it loses nothing: what had arrived is there for the next call.

        Raises:
            ProtocolViolation: as for `receive`, but for texts.
            LimitExceeded: a message over the limit.
        """
        if self._receiving:
            # Whoever closes reads until the answer comes; what is not a close frame is dropped.
            await self._ended.wait()
            return None
        self._receiving, self._at_once = True, at_once
        try:
            while not self._ended.is_set():
                match await self._next_event():
                    case Message() as message:
                        undealt, self._undealt = self._undealt, None
                        if message is undealt or not self._dealt_with(message, trio.current_time()):
                            return message
                    case Ping(payload):
                        await self._writer.pong(payload)
                    case Close(code, _):
                        await self._writer.close(code, "", self._patience.close)
                        await self._end()
                    case None:
                        await self._end()
            return None
        finally:
            self._receiving = False

    async def send(self, data: Buffer | tuple[Buffer, ...], *, text: bool = False) -> None:
        """Send one message, uncopied; returns when the operating system has taken it all.

        Silent when the other side is gone. Cancelled, it aborts the connection.
        """
        await self._writer.message(data, text=text)

    def send_now(self, *messages: Buffer) -> Sent:
        """See `Transport.send_now`."""
        return self._writer.messages_now(messages)

    async def flush(self) -> None:
        """See `Transport.flush`. Cancelled, it aborts the connection."""
        await self._writer.flush()

    async def close(self, code: int, reason: str) -> None:
        """See `Transport.close`. Waits `Patience.close` for the answer, then closes without it.

        Cancelled, it aborts the connection.
        """
        try:
            await self._writer.close(code, reason, self._patience.close)
            with trio.move_on_after(self._patience.close):
                if self._receiving:
                    await self._ended.wait()
                else:
                    await self.receive_message()
            await self._end()
        finally:
            if not self._ended.is_set():
                self._ended.set()
                await self._stream.abort()

    async def _next_event(self) -> Event | None:
        """Return the next event; None at the end."""
        more = True
        try:
            while more and not self._unreadable:
                event = self._reader.next_event()
                if event is not None:
                    return event
                try:
                    more = await self._receive_more()
                except trio.TooSlowError:
                    more = await self._prompt()
                woken_by, self._woken_by = self._woken_by, None
                if isinstance(woken_by, Exception):
                    raise woken_by
                if woken_by is not None:
                    return woken_by
        except LOST:
            return None
        except DiscoError as error:
            self._unreadable = True
            await self._refuse(error)
        if self._unreadable:
            await self._discard()
        return None

    async def _discard(self) -> None:
        """Drop what comes until the client has read why and left.

        Closing with bytes unread would make the operating system take the close frame back.
        """
        with trio.move_on_after(self._patience.close), suppress(*LOST):
            while await self._stream.read():
                pass

    async def _receive_more(self) -> bool:
        """Receive into the message or the reader; False at the end."""
        missing = self._reader.missing
        target = self._reader.target() if missing >= DIRECT_BYTES else None
        if target is None and self._at_once and self._poll and isinstance(self._stream, SocketBytes):
            return await self._sleep(self._stream, self._poll)
        if target is None:
            data = await self._stream.read(self._seconds_left())
            self._reader.feed(data)
            count = len(data)
        else:
            count = await self._admission.receive(self._stream, target, missing, self._seconds_left)
            self._reader.filled(count)
        if self._reader.missing == 0:
            self._admission.end_payload()
        self._vigil.pinged = False
        return count > 0

    def _dealt_with(self, message: Message, now: float) -> bool:
        """Let a message be dealt with at once, if it can be; it is dropped while the connection is closing."""
        self._vigil.end_message()
        if self._writer.closing:
            return True
        return self._at_once is not None and not message.text and self._at_once(message.data, now)

    async def _sleep(self, stream: SocketBytes, poll: Poll) -> bool:
        """Let what comes be dealt with elsewhere until there is something for this task; False at the end.

        Raises:
            trio.TooSlowError: the client was too slow.
        """
        over = False
        self._vigil.wait(trio.current_time(), amid_message=self._reader.amid_message)

        def ready() -> bool:
            nonlocal over
            try:
                data = stream.read_now()
                over = data == b""
                return data is None or (not over and self._deal_with(data))
            except Exception as error:
                self._woken_by = error
                return False

        while (until := self._vigil.until) > trio.current_time():
            self._sleeps_until = until
            with trio.CancelScope(deadline=until) as sleep:
                await stream.rest(poll, ready)
            if not sleep.cancelled_caught:
                return not over
        raise trio.TooSlowError

    def _deal_with(self, data: bytes) -> bool:
        """Take what came, and deal with it; False when the task that receives has to be woken."""
        now = trio.current_time()
        self._vigil.hear(now)
        self._reader.feed(data)
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, Message):
                if self._dealt_with(event, now):
                    continue
                self._undealt = event
            if not isinstance(event, Pong):
                self._woken_by = event
                return False
        if not self._reader.amid_message:
            return True
        self._vigil.wait(now, amid_message=True)
        return self._reader.missing < DIRECT_BYTES and self._sleeps_until <= self._vigil.until

    def _seconds_left(self) -> float:
        """Return how long to wait for more bytes."""
        now = trio.current_time()
        self._vigil.wait(now, amid_message=self._reader.amid_message)
        return max(self._vigil.until - now, 0.0)

    async def _prompt(self) -> bool:
        """Ask a silent client for a sign of life; False when it was asked before.

        Raises:
            ProtocolViolation: it is amid a message, and that takes too long.
        """
        if self._vigil.overdue(trio.current_time()):
            raise ProtocolViolation(f"a message took longer than {self._patience.message:g} s to arrive")
        if self._vigil.pinged:
            return False
        if not self._writer.busy:  # else the sender's own deadline is on
            self._vigil.pinged = True
            await self._writer.ping()
        return True

    async def _refuse(self, error: DiscoError) -> None:
        """Close because of what was received, and raise why; in silence when closing anyway."""
        if self._writer.closing:
            return
        await self._writer.close(error.close_code, str(error), self._patience.close)
        if self._unreadable:
            with suppress(*LOST):
                await self._stream.finish_writing()
        raise error

    async def _end(self) -> None:
        """Close the connection in good order."""
        if not self._ended.is_set():
            self._ended.set()
            with trio.move_on_after(self._patience.close):
                await self._stream.close()
