"""The first bytes of msgpack objects: what comes, and how long it is.

Only what weights need. Objects are known to be whole before their header is read here (`envelope.unpack`).

Source: the MessagePack specification, "Formats".
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import NamedTuple

from disco.wire.dialect import Buffer


class Kind(StrEnum):
    """What an object is, in words for people."""

    ARRAY = "an array"
    BIN = "bytes"
    EXT = "an extension"
    MAP = "a map"
    NIL = "nil"
    NUMBER = "a number"
    STRING = "a string"
    TRUTH = "a truth value"


class Header(NamedTuple):
    """The beginning of one object.

    Args:
        kind: what it is.
        start: bytes before its content.
        length: elements of an array, bytes of ``bin`` and of an extension's content; 0 for everything else.
        code: an extension's type, 0–255 (the specification's -1 is 255); 0 for everything else.
    """

    kind: Kind
    start: int
    length: int = 0
    code: int = 0


#: Opcode → kind and how many bytes of length are behind it.
_SIZED = {
    0xC4: (Kind.BIN, 1),
    0xC5: (Kind.BIN, 2),
    0xC6: (Kind.BIN, 4),
    0xC7: (Kind.EXT, 1),
    0xC8: (Kind.EXT, 2),
    0xC9: (Kind.EXT, 4),
    0xDC: (Kind.ARRAY, 2),
    0xDD: (Kind.ARRAY, 4),
}
_FIXEXT_LENGTHS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_FIXEXT_OPCODES = {length: opcode for opcode, length in _FIXEXT_LENGTHS.items()}


def read_header(data: Buffer) -> Header:
    """Read the header of the object that `data` is, which is whole and not empty."""
    opcode = data[0]
    if opcode in _SIZED:
        kind, width = _SIZED[opcode]
        length, start = int.from_bytes(data[1 : 1 + width]), 1 + width
        return (
            Header(kind, start + 1, length, data[start]) if kind is Kind.EXT else Header(kind, start, length)
        )
    if opcode in _FIXEXT_LENGTHS:
        return Header(Kind.EXT, 2, _FIXEXT_LENGTHS[opcode], data[1])
    if 0x90 <= opcode <= 0x9F:
        return Header(Kind.ARRAY, 1, opcode & 0x0F)
    return Header(_unsized(opcode), 1)


def _unsized(opcode: int) -> Kind:
    """Name the kind of an object whose length nobody here needs."""
    match opcode:
        case 0xC0:
            return Kind.NIL
        case 0xC2 | 0xC3:
            return Kind.TRUTH
        case 0xD9 | 0xDA | 0xDB:
            return Kind.STRING
        case 0xDE | 0xDF:
            return Kind.MAP
    if 0xA0 <= opcode <= 0xBF:
        return Kind.STRING
    return Kind.MAP if 0x80 <= opcode <= 0x8F else Kind.NUMBER


def map_header(length: int) -> bytes:
    """Write the header of a map of `length` < 16 pairs."""
    return bytes((0x80 | length,))


def array_header(length: int) -> bytes:
    """Write the header of an array of `length` < 2³² elements."""
    if length < 16:
        return bytes((0x90 | length,))
    return struct.pack(">BH", 0xDC, length) if length < 1 << 16 else struct.pack(">BI", 0xDD, length)


def bin_header(length: int) -> bytes:
    """Write the header of `length` < 2³² bytes."""
    if length < 1 << 8:
        return bytes((0xC4, length))
    return struct.pack(">BH", 0xC5, length) if length < 1 << 16 else struct.pack(">BI", 0xC6, length)


def ext_header(code: int, length: int) -> bytes:
    """Write the header of an extension with `length` < 2³² bytes of content."""
    if length in _FIXEXT_OPCODES:
        return bytes((_FIXEXT_OPCODES[length], code))
    if length < 1 << 8:
        return bytes((0xC7, length, code))
    return (
        struct.pack(">BHB", 0xC8, length, code)
        if length < 1 << 16
        else struct.pack(">BIB", 0xC9, length, code)
    )
