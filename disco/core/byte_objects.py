"""Bytes as JSON objects of indices, ``{"0":131,"1":22,…}``: what `JSON.stringify` makes of a Uint8Array.

Built as dicts, tens of megabytes of them take minutes and gigabytes. Here they are read as what they are: runs of
decimal digits at places that follow from each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

#: Characters read in one go, so that the arrays of positions stay in the cache.
BLOCK = 65_536

#: A comma, nine digits in quotes, a colon and three digits.
LONGEST_ENTRY = 16

_QUOTE, _COLON, _COMMA, _ZERO = (ord(character) for character in '":,0')


def read_indexed(text: bytes | memoryview) -> bytes | None:
    """Return the bytes, or None if `text` is not such an object exactly as JavaScript writes it."""
    characters = np.frombuffer(text, dtype=np.uint8)
    if characters.size < 2 or characters[0] != ord("{") or characters[-1] != ord("}"):
        return None
    blocks: list[bytes] = []
    start, last, count = 0, characters.size - 1, 0
    while start < last:
        end = min(start + BLOCK, last)
        if end < last:
            commas = np.flatnonzero(characters[end - LONGEST_ENTRY : end] == _COMMA)
            if not commas.size:
                return None
            end += int(commas[-1]) - LONGEST_ENTRY
        block = _read_block(characters[start : end + 1], count)
        if block is None:
            return None
        blocks.append(block)
        start, count = end, count + len(block)
    return b"".join(blocks)


def _read_block(characters: NDArray[np.uint8], first: int) -> bytes | None:
    """Read `"key":value` entries, between a brace or comma and another, whose keys count from `first`."""
    colons = np.flatnonzero(characters == _COLON)
    ends = np.append(np.flatnonzero(characters[1:-1] == _COMMA) + 1, characters.size - 1)
    starts = np.append(0, ends[:-1])
    if colons.size != ends.size or not ((starts + 3 < colons) & (colons + 1 < ends)).all():
        return None
    quoted = (characters[starts + 1] == _QUOTE) & (characters[colons - 1] == _QUOTE)
    keys = _decimals(characters, colons - 1, colons - starts - 3)
    values = _decimals(characters, ends, ends - colons - 1)
    if keys is None or values is None or not quoted.all() or values.max() > 255:
        return None
    if not np.array_equal(keys, np.arange(first, first + keys.size)):
        return None
    return values.astype(np.uint8).tobytes()


def _decimals(characters: NDArray[np.uint8], ends: Positions, lengths: Positions) -> Positions | None:
    """Read the numbers that end before `ends`; None if one is no number, or has a leading zero or many digits."""
    longest = int(lengths.max())
    if longest > 9 or lengths.min() < 1:
        return None
    numbers = np.zeros(ends.size, dtype=np.int64)
    for place in range(longest):
        here = lengths > place
        digits = characters[ends[here] - 1 - place].astype(np.int64) - _ZERO
        if ((digits < 0) | (digits > 9)).any():
            return None
        numbers[here] += digits * 10**place
    leading = characters[ends - lengths] == _ZERO
    return None if (leading & (lengths > 1)).any() else numbers
