"""From a client's bytes to events, without a copy where it counts. No socket, no clock, no waiting.

    reader.feed(bytes) ─┐                            ┌─> Message | Ping | Pong | Close
                        ├─> FrameReader.next_event ──┤
    reader.target()     │                            └─> None: more bytes are needed
    reader.filled(n)   ─┘

Small frames are read from what was fed. Of a frame that has not arrived whole, the payload goes to its place in
the message at once; whoever reads the socket may then receive the rest straight into `target`, without another copy.

A message's size is judged by its frames' headers, before a byte of it is kept. Its buffer is numpy's: it is mapped
when the header is read and takes memory only page by page as bytes arrive, so that a claim of half a gigabyte
costs nothing.
"""

from __future__ import annotations

import codecs

import numpy as np

from disco.errors import LimitExceeded, MalformedFrame, MalformedText
from disco.runtime.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FINAL,
    PING,
    TEXT,
    Event,
    Header,
    Message,
    Ping,
    Pong,
    parse_close,
    parse_header,
)
from disco.runtime.masking import Bytes, unmask, unmasked

#: First capacity of a message that comes in several frames; it doubles from there.
FRAGMENTED_BYTES = 64 * 1024


class FrameReader:
    """What one client sends, as events.

    Feed only after `next_event` has returned None. After an error the reader cannot go on.

    Args:
        limit_bytes: of one message, over all its frames.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._chunk = b""  # fed, and read up to _at
        self._at = 0
        self._in_frame = False  # a data frame's header was read, its payload not yet whole
        self._final = True
        self._key = b""
        self._offset = 0  # bytes of the frame's payload that are there
        self._missing = 0  # and that are not
        self._opcode = CONTINUATION  # of the message that has begun; a continuation when none has
        self._buffer: Bytes | None = None
        self._length = 0  # bytes of the message that are there
        self._utf8: codecs.IncrementalDecoder | None = None

    @property
    def missing(self) -> int:
        """Bytes of the current frame's payload that have not arrived."""
        return self._missing

    @property
    def amid_message(self) -> bool:
        """Whether a message, or only a part of a header, has begun and is not whole."""
        return self._in_frame or self._opcode != CONTINUATION or self._at < len(self._chunk)

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._chunk = data if self._at == len(self._chunk) else self._chunk[self._at :] + data
        self._at = 0

    def target(self) -> memoryview | None:
        """Return where the missing bytes of the current frame belong; None when it is not known."""
        if not self._missing or self._buffer is None:
            return None
        return self._buffer.data[self._length : self._length + self._missing]

    def filled(self, count: int) -> None:
        """Take note that `count` bytes were received into the beginning of `target`.

        Raises:
            MalformedText: they make the message's text invalid.
        """
        if self._buffer is None:
            return
        start, end = self._length, self._length + count
        unmask(self._buffer, start, end, self._key, self._offset)
        self._length = end
        self._offset += count
        self._missing -= count
        if self._utf8 is not None:
            _decode(self._utf8, self._buffer[start:end].tobytes(), final=self._final and not self._missing)

    def next_event(self) -> Event | None:
        """Return the next event, or None when more bytes are needed.

        Raises:
            MalformedFrame: the bytes are not frames, or come in a wrong order.
            MalformedText: a text is not UTF-8.
            LimitExceeded: a message is, or is going to be, over the limit.
        """
        while True:
            if not self._in_frame:
                if self._at == len(self._chunk):
                    return None
                if not self._at and self._opcode == CONTINUATION and (message := self._only()) is not None:
                    return message
                header = parse_header(self._chunk, self._at)
                if header is None:
                    return None
                if header.opcode >= CLOSE:
                    return self._control(header)
                whole = self._begin(header)
                if whole is not None:
                    return whole
            self._absorb()
            if self._missing:
                return None
            self._in_frame = False
            if self._final:
                return self._finish()

    def _only(self) -> Message | None:
        """Read the commonest case, a small binary message whose one frame is all that came; None for all else."""
        chunk = self._chunk
        size = len(chunk)
        if size < 6 or chunk[0] != FINAL | BINARY:
            return None
        second = chunk[1]
        if second == 0x80 | 126 and size >= 8 + 126:
            length, start = chunk[2] << 8 | chunk[3], 8
        elif 0x80 <= second < 0x80 | 126:
            length, start = second & 0x7F, 6
        else:
            return None
        if start + length != size or length > self._limit:
            return None
        self._at = size
        return Message(unmasked(chunk, start, size, chunk[start - 4 : start]), False)

    def _control(self, header: Header) -> Event | None:
        stop = header.end + header.length
        if len(self._chunk) < stop:
            return None
        payload = bytes(unmasked(self._chunk, header.end, stop, header.key))
        self._at = stop
        if header.opcode == CLOSE:
            return parse_close(payload)
        return Ping(payload) if header.opcode == PING else Pong(payload)

    def _begin(self, header: Header) -> Message | None:
        """Begin a data frame; return its message if that is whole already."""
        if (header.opcode == CONTINUATION) == (self._opcode == CONTINUATION):
            raise MalformedFrame("a continuation without a beginning, or a beginning amid a message")
        if self._length + header.length > self._limit:
            raise LimitExceeded(f"a message is longer than {self._limit} bytes")
        stop = header.end + header.length
        if header.final and header.opcode and stop <= len(self._chunk):
            data = unmasked(self._chunk, header.end, stop, header.key)
            self._at = stop
            if header.opcode == TEXT:
                _decode(_utf8_decoder(), bytes(data), final=True)
            return Message(data, header.opcode == TEXT)
        if header.opcode:
            self._opcode = header.opcode
            self._utf8 = _utf8_decoder() if header.opcode == TEXT else None
        self._at, self._key, self._final = header.end, header.key, header.final
        self._offset, self._missing, self._in_frame = 0, header.length, True
        self._reserve(self._length + header.length)
        return None

    def _reserve(self, needed: int) -> None:
        """Make room for `needed` bytes of the message; doubling, where more frames may follow."""
        held = 0 if self._buffer is None else self._buffer.size
        if self._buffer is not None and needed <= held:
            return
        growing = held or not self._final
        capacity = min(max(needed, 2 * held, FRAGMENTED_BYTES), self._limit) if growing else needed
        try:
            buffer: Bytes = np.empty(capacity, np.uint8)
        except MemoryError as error:
            raise LimitExceeded(f"there is no memory for a message of {needed} bytes") from error
        if self._buffer is not None:
            buffer[: self._length] = self._buffer[: self._length]
        self._buffer = buffer

    def _absorb(self) -> None:
        """Move what was fed of the current frame's payload to its place."""
        count = min(self._missing, len(self._chunk) - self._at)
        if self._buffer is not None and count:
            source = np.frombuffer(self._chunk, np.uint8, count, self._at)
            self._buffer[self._length : self._length + count] = source
            self._at += count
        # Also with nothing to move: an empty last frame can leave a character of a text unfinished.
        self.filled(count)

    def _finish(self) -> Message:
        data = b"" if self._buffer is None else self._buffer.data[: self._length]
        message = Message(data, self._opcode == TEXT)
        self._opcode, self._buffer, self._length, self._utf8 = CONTINUATION, None, 0, None
        return message


def _utf8_decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("strict")


def _decode(decoder: codecs.IncrementalDecoder, data: bytes, *, final: bool) -> None:
    try:
        decoder.decode(data, final)
    except UnicodeDecodeError as error:
        raise MalformedText("a text message is not UTF-8") from error
