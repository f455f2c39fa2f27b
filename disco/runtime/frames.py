"""The RFC 6455 frames of a server: the headers and payloads of control frames, read and written. Pure.

What a client's bytes amount to, message by message, is `frame_reader`'s.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from disco.errors import MalformedFrame, MalformedText

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KNOWN_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
FINAL = 0x80

#: RFC 6455, section 5.5: a control frame's payload.
CONTROL_BYTES = 125
#: A close frame's reason: what is left after its 2-byte code.
REASON_BYTES = CONTROL_BYTES - 2
#: RFC 6455, section 7.4.1: "no status code was present"; never on the wire.
NO_STATUS = 1005


class Message(NamedTuple):
    """One whole message. The buffer is nobody else's."""

    data: bytes | memoryview
    text: bool


class Ping(NamedTuple):
    """The other side wants to hear this payload, at most 125 bytes, in a pong."""

    payload: bytes


class Pong(NamedTuple):
    """The other side answers a ping, or shows that it is there."""

    payload: bytes


class Close(NamedTuple):
    """The other side closes; nothing follows. The code is 1005 when it gave none."""

    code: int
    reason: str


Event: TypeAlias = Message | Ping | Pong | Close


class Header(NamedTuple):
    """The head of one frame; `end` is the index of its payload."""

    opcode: int
    final: bool
    length: int
    key: bytes
    end: int


def encode_header(opcode: int, length: int) -> bytes:
    """Write the header of an unmasked, unfragmented frame."""
    first = FINAL | opcode
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)


def encode_close(code: int, reason: str = "") -> bytes:
    """Write a close frame; the reason is cut to 123 bytes, between characters. Code 1005 writes an empty one."""
    payload = b""
    if code != NO_STATUS:
        text = reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
        payload = code.to_bytes(2) + text.encode()
    return encode_header(CLOSE, len(payload)) + payload


def parse_close(payload: bytes) -> Close:
    """Read a close frame's payload.

    Raises:
        MalformedFrame: half a code, or one that must not be on the wire.
        MalformedText: the reason is not UTF-8.
    """
    if not payload:
        return Close(NO_STATUS, "")
    code = int.from_bytes(payload[:2])
    if len(payload) < 2 or not is_close_code(code):
        raise MalformedFrame("the close frame has no valid code")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError as error:
        raise MalformedText("the close frame's reason is not UTF-8") from error


def is_close_code(code: int) -> bool:
    """Tell whether a close frame may carry this code.

    Source: RFC 6455, section 7.4, and the IANA registry of close codes (1012 to 1014).
    """
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def parse_header(data: bytes, start: int) -> Header | None:
    """Read the frame header at `start`; None while it is not all there. Its first two bytes are judged at once.

    Raises:
        MalformedFrame: no client may send this header.
    """
    if len(data) < start + 2:
        return None
    first, second = data[start], data[start + 1]
    opcode, final, length = first & 0x0F, first >= FINAL, second & 0x7F
    if first & 0x70:
        raise MalformedFrame("a frame has reserved bits set, though no extension was agreed on")
    if opcode not in KNOWN_OPCODES:
        raise MalformedFrame(f"a frame has the reserved opcode {opcode}")
    if second < 0x80:
        raise MalformedFrame("a frame is not masked, as every client's must be")
    if opcode >= CLOSE and (length > CONTROL_BYTES or not final):
        raise MalformedFrame(f"a control frame is fragmented or longer than {CONTROL_BYTES} bytes")
    extended = 0 if length < 126 else 2 if length == 126 else 8
    end = start + 6 + extended
    if len(data) < end:
        return None
    if extended:
        length = int.from_bytes(data[start + 2 : start + 2 + extended])
        if not (126 if extended == 2 else 1 << 16) <= length < 1 << 63:
            raise MalformedFrame("a frame's length is not written in the shortest form")
    return Header(opcode, final, length, data[end - 4 : end], end)
