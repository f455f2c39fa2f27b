"""Bytes as msgpack integers, one after the other: how v2 carries weights, and all at once by numpy.

A byte below 0x80 is its own encoding; any other is 0xcc and the byte. Such a stream is told apart without
walking it: 0xcc is either a prefix or a prefixed value, and a run of 0xcc begins with a prefix, whatever is
before it (a byte below 0x80 is no prefix, and any other byte from 0x80 up is a value that has had its own).
So prefixes are the 0xcc at even offsets in their runs. Both directions go block by block, which keeps index
arrays small however large the model, or the attack, is.

Source: DISCO v2 wire, `weights` ("Encoded"); the MessagePack specification, "int format family".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from disco.errors import InvalidUpdate

Octets: TypeAlias = NDArray[np.uint8]

#: Bytes encoded or decoded in one go.
BLOCK = 1 << 18

#: Bytes of the largest msgpack object without a content of its own.
LARGEST_SCALAR = 9

_PREFIX = 0xCC


def expand(octets: Octets) -> Iterator[Octets]:
    """Write each byte as a msgpack integer in its shortest form, block by block."""
    for start in range(0, octets.size, BLOCK):
        block = octets[start : start + BLOCK]
        # Where each byte lies if the first of all lies at 1 or, with its prefix before it, at 2.
        places = np.cumsum((block >> 7) + np.uint8(1), dtype=np.intp)
        expanded = np.full(int(places[-1]) + 1, _PREFIX, dtype=np.uint8)
        expanded[places] = block
        yield expanded[1:]


def collapse(integers: Octets, count: int, field: str) -> Octets:
    """Read `count` msgpack integers as bytes.

    Args:
        integers: exactly `count` whole msgpack objects.
        count: how many there are.
        field: what they are, for the error.

    Raises:
        InvalidUpdate: one is no integer of 0–255.
    """
    found = collapse_first(integers, count)
    if found is None or found[1] != integers.size:
        return _collapse_any(integers, field)
    return found[0]


def collapse_first(stream: Octets, count: int) -> tuple[Octets, int] | None:
    """Read `count` msgpack integers at the beginning of `stream`, if they are bytes in their shortest form.

    Returns:
        The bytes, and where the integers end; None when there are fewer, or one is of another form.
    """
    if count > stream.size:
        return None  # a count that cannot be true allocates nothing
    collapsed = np.empty(count, dtype=np.uint8)
    start = filled = 0
    while filled < count and start < stream.size:
        block = stream[start : start + BLOCK]
        prefix = _prefixes(block)
        if count - filled < block.size:
            ends = np.flatnonzero(~prefix)[: count - filled]
            until = int(ends[-1]) + 1 if ends.size == count - filled else block.size
            block, prefix = block[:until], prefix[:until]
        if prefix[-1]:
            if block.size == 1:
                return None  # the last prefix of all has no value
            block, prefix = block[:-1], prefix[:-1]
        # By positions: numpy copies what a mask selects run by run, and these runs are two or three bytes long.
        values = block.compress(~prefix)
        # No prefix is before a value below 0x80, and as many are there as values from 0x80 up.
        low = block < 0x80
        if (prefix[:-1] & low[1:]).any() or values.size - np.count_nonzero(low) != block.size - values.size:
            return None
        collapsed[filled : filled + values.size] = values
        start, filled = start + block.size, filled + values.size
    return (collapsed, start) if filled == count else None


def _prefixes(block: Octets) -> NDArray[np.bool_]:
    """Tell which bytes are prefixes in a block that begins with an integer's first byte."""
    prefix: NDArray[np.bool_] = block == _PREFIX
    inside = np.flatnonzero(prefix[1:] & prefix[:-1]) + 1  # not the first of their run
    if inside.size:
        starts = np.where(np.diff(inside, prepend=-1) == 1, 0, inside)
        offsets = inside - np.maximum.accumulate(starts) + 1
        prefix[inside] = offsets % 2 == 0
    return prefix


def _collapse_any(integers: Octets, field: str) -> Octets:
    """Read integers of any width, one by one."""
    collapsed = bytearray()
    try:
        for values in scalars(integers, frozenset({int})):
            collapsed.extend(values)
    except ValueError as error:
        raise InvalidUpdate(f"{field} has an element that is no integer of 0–255") from error
    return np.frombuffer(collapsed, dtype=np.uint8)


def scalars(objects: Octets, allowed: frozenset[type]) -> Iterator[list[Any]]:
    """Read whole msgpack objects that have no content of their own, one by one and in bounded memory.

    Args:
        objects: any number of them, one after the other.
        allowed: the exact Python types that they may have.

    Yields:
        Lists of at most `BLOCK` values.

    Raises:
        ValueError: an object is of another type.
    """
    # Whatever is not empty is refused at its header; what is empty fails the look at its type.
    reader = msgpack.Unpacker(
        max_buffer_size=BLOCK + LARGEST_SCALAR,
        max_array_len=0,
        max_map_len=0,
        max_str_len=0,
        max_bin_len=0,
        max_ext_len=0,
    )
    for start in range(0, objects.size, BLOCK):
        reader.feed(objects[start : start + BLOCK])
        values = list(reader)  # msgpack's own errors are ValueErrors
        if not allowed.issuperset(map(type, values)):
            raise ValueError("an object of another type")
        yield values
