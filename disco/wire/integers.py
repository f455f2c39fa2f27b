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
        high = block >= 0x80
        doubled = np.repeat(block, high.view(np.uint8) + np.uint8(1))
        prefixes = np.flatnonzero(high)
        doubled[prefixes + np.arange(prefixes.size)] = _PREFIX
        yield doubled


def collapse(integers: Octets, count: int, field: str) -> Octets:
    """Read `count` msgpack integers as bytes.

    Args:
        integers: exactly `count` whole msgpack objects.
        count: how many there are.
        field: what they are, for the error.

    Raises:
        InvalidUpdate: one is no integer of 0–255.
    """
    # A canonical integer takes one or two bytes: a count that cannot be true allocates nothing.
    canonical = _collapse_canonical(integers, count) if count <= integers.size <= 2 * count else None
    return _collapse_any(integers, field) if canonical is None else canonical


def _collapse_canonical(integers: Octets, count: int) -> Octets | None:
    """Read integers in their shortest form; None when one is not."""
    collapsed = np.empty(count, dtype=np.uint8)
    start = filled = 0
    while start < integers.size:
        block = integers[start : start + BLOCK]
        prefix = _prefixes(block)
        if prefix[-1]:
            if block.size == 1:
                return None  # the last prefix of all has no value
            block, prefix = block[:-1], prefix[:-1]
        # Every prefix is followed by a value from 0x80 up, and no such value is without one.
        high = block >= 0x80
        if (prefix[:-1] > high[1:]).any() or np.count_nonzero(high) != 2 * np.count_nonzero(prefix):
            return None
        values = block[~prefix]
        start, until = start + block.size, filled + values.size
        if until > count:
            return None
        collapsed[filled:until] = values
        filled = until
    return collapsed if filled == count else None


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
