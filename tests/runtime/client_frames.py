"""Frames as a client writes them, byte by byte and plainly: the reference for what the server's layer reads."""

from __future__ import annotations

from collections.abc import Iterator

from disco.runtime.frame_reader import FrameReader
from disco.runtime.frames import Event

KEY = b"\x11\x22\x83\xf4"


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    """XOR with the key, one byte at a time (RFC 6455, section 5.3)."""
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def header(opcode: int, length: int, *, final: bool = True, reserved: int = 0) -> bytes:
    """Write a masked frame's header without its key."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    if length < 126:
        return bytes((first, 0x80 | length))
    if length < 65536:
        return bytes((first, 0x80 | 126)) + length.to_bytes(2)
    return bytes((first, 0x80 | 127)) + length.to_bytes(8)


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0, key: bytes = KEY) -> bytes:
    """Write one masked frame."""
    return header(opcode, len(payload), final=final, reserved=reserved) + key + masked(payload, key)


def events(reader: FrameReader, data: bytes) -> Iterator[Event]:
    """Feed `data` and yield what it amounts to."""
    reader.feed(data)
    while (event := reader.next_event()) is not None:
        yield event


def events_directly(reader: FrameReader, data: bytes) -> Iterator[Event]:
    """Do as `events`, but receive into the reader's target whenever it has one."""
    while data:
        target = reader.target()
        if target is None:
            reader.feed(data[:1])
            data = data[1:]
        else:
            count = min(len(target), len(data))
            target[:count] = data[:count]
            reader.filled(count)
            data = data[count:]
        while (event := reader.next_event()) is not None:
            yield event
